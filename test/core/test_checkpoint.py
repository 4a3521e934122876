import json
import pickle
import re
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdcpc_core.checkpoint import (
    HEADER_KEY,
    CheckpointHeader,
    default_checkpoint,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from sdcpc_core.errors import CheckpointError, OutputError
from sdcpc_core.labels import CAMVID
from sdcpc_core.models import build_model
from sdcpc_core.models.sdcpc import SDCPCOptions

HEADER = CheckpointHeader(
    "sdcpc_mit_b0",
    {**asdict(SDCPCOptions()), "reference_ages_s": [0.1, 0.3]},
    CAMVID,
    (96, 128),
    {"data": "none", "seed": 3},
)


@pytest.fixture(scope="module")
def model():
    return HEADER.build().eval()


@pytest.fixture
def path(tmp_path, model):
    save_checkpoint(tmp_path / "made" / "model.safetensors", model, HEADER)
    return tmp_path / "made" / "model.safetensors"


def test_round_trip(path, model):
    loaded, header = load_checkpoint(path)
    assert header == HEADER == read_header(path)
    assert loaded.reference_ages_s == (0.1, 0.3)
    clip = torch.randint(0, 256, (1, 3, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(loaded(clip), model(clip))
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_round_trip_of_a_per_frame_model(tmp_path):
    header = CheckpointHeader("segformer_resnet18", {"decoder_channels": 32}, CAMVID, (96, 128))
    model = header.build().eval()
    save_checkpoint(tmp_path / "model.safetensors", model, header)
    loaded, restored = load_checkpoint(tmp_path / "model.safetensors")
    assert restored == header
    frame = torch.randint(0, 256, (1, 1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(loaded(frame), model(frame))


def test_a_file_holds_every_option_and_can_be_read_by_others(tmp_path, model):
    brief = CheckpointHeader("sdcpc_mit_b0", {"reference_ages_s": [0.1, 0.3]}, CAMVID, (96, 128))
    path = tmp_path / "brief.safetensors"
    save_checkpoint(path, model, brief)
    assert read_header(path).model_options == HEADER.model_options
    (tmp_path / "ordinary").write_text("")
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_header_of_other_options_is_refused(tmp_path, model):
    other = CheckpointHeader("sdcpc_mit_b0", {}, CAMVID, (96, 128))
    with pytest.raises(CheckpointError, match=r"0\.1, 0\.3.*its header .*0\.2, 0\.4"):
        save_checkpoint(tmp_path / "x.safetensors", model, other)


def test_half_precision_halves_the_file_and_loads_as_float32(path, tmp_path, model):
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, model, HEADER, dtype=torch.float16)
    assert half.stat().st_size < 0.51 * path.stat().st_size
    loaded, _ = load_checkpoint(half)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def rewrite(path, change_tensors=None, header_text=None):
    tensors = load_file(path)
    if change_tensors:
        change_tensors(tensors)
    save_file(tensors, path, metadata={HEADER_KEY: HEADER.to_json() if header_text is None else header_text})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.decide.bias"), r"1 tensors are missing \(head.decide.bias\)"),
        (lambda t: t.update(extra=torch.zeros(1)), r"1 tensors are unexpected \(extra\)"),
        (lambda t: t.update({"head.decide.bias": torch.zeros(7)}), r"head.decide.bias is \(7,\), not \(11,\)"),
        (lambda t: t.update({"head.decide.bias": torch.zeros(11).long()}), "another type .*torch.int64"),
        (lambda t: t.update({"head.decide.bias": torch.zeros(11) * 1j}), "another type .*torch.complex64"),
        (lambda t: t["head.decide.bias"].fill_(float("nan")), "not finite .*head.decide.bias"),
    ],
)
def test_tensors_that_are_not_the_model_s_are_named(path, change, message):
    rewrite(path, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "header of the checkpoint is broken"),
        ("{}", "header of the checkpoint is broken"),
        (HEADER.to_json().replace('"format_version": 1', '"format_version": 9'), "format 9.*update"),
        (HEADER.to_json().replace("sdcpc_mit_b0", "sdcpc_vgg"), "no model 'sdcpc_vgg'"),
        (HEADER.to_json().replace('"Sky"', '"Road"'), "names a class twice"),
        (HEADER.to_json().replace("[96, 128]", "[0, 0]"), "working_size_hw is 0x0"),
        (HEADER.to_json().replace('"channels": 128', '"channels": 1000000'), "another shape"),
        (HEADER.to_json().replace('"channels": 128', '"channels": -8'), "channels is -8"),
        (re.sub(r'"provenance": {[^}]*}', '"provenance": 5', HEADER.to_json()), "header of the checkpoint is broken"),
    ],
)
def test_broken_headers_say_what_is_wrong(path, text, message):
    rewrite(path, header_text=text)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps(Boom()), b"\x08" + b"\0" * 7 + b"{}      "])
def test_files_that_are_no_checkpoint(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        load_checkpoint(path)


def test_a_truncated_file(path):
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cut off"):
        load_checkpoint(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize(("name", "message"), [(".", "not a safetensors file"), ("x" * 300, "no checkpoint at")])
def test_a_folder_or_a_name_that_cannot_be(tmp_path, name, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / name)


def test_weights_too_large_for_half_precision_are_not_saved(tmp_path):
    large = HEADER.build()
    large.head.decide.bias.data.fill_(1e5)
    with pytest.raises(CheckpointError, match=r"too large for float16, .* --half .*: head.decide.bias"):
        save_checkpoint(tmp_path / "x.safetensors", large, HEADER, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_saving_another_model_than_the_header_s_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="another shape"):
        save_checkpoint(tmp_path / "x.safetensors", build_model("sdcpc_mit_b0", 5), HEADER)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place(tmp_path, model):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_checkpoint(tmp_path / "file" / "x.safetensors", model, HEADER)


def test_the_shipped_checkpoint_explains_itself():
    model, header = load_checkpoint(default_checkpoint())
    assert model.num_classes == header.labels.num_classes == 11
    assert header.provenance["val_mIoU"] >= 40
    assert header.model_options["reference_ages_s"] == [0.2, 0.4]
    assert "/" not in json.dumps(header.provenance), "a path of the machine it was trained on"
    assert default_checkpoint().stat().st_size <= 28e6
    assert default_checkpoint().with_suffix(".md").is_file()
