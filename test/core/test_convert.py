"""SegFormers of others become checkpoints of this package."""

import json

import pytest
import torch
from foreign_weights import nvlabs

from sdcpc_core.checkpoint import load_checkpoint, read_header
from sdcpc_core.convert import convert
from sdcpc_core.errors import CheckpointError, ConfigError, OutputError
from sdcpc_core.labels import CAMVID, CITYSCAPES, LabelSet
from sdcpc_core.models import build_model
from sdcpc_core.streaming import Segmenter

ANIMALS = ("sky", "dog", "Person, individual", "carpet")


def nvlabs_file(path, model_name="segformer_mit_b0", num_classes=19, meta=None, **options):
    """A random SegFormer as NVlabs saves it; returns the model."""
    torch.manual_seed(2)
    model = build_model(model_name, num_classes, **options).eval()
    model.decode_head.linear_fuse.bn.running_mean.normal_()
    torch.save({"meta": meta or {}, "state_dict": nvlabs(model.state_dict())}, path)
    return model


@pytest.fixture
def hugging_face(tmp_path):
    """Save a random SegFormer-B0 of transformers with these class names; None stores no id2label."""
    transformers = pytest.importorskip("transformers")

    def save(names):
        torch.manual_seed(2)
        config = transformers.SegformerConfig(id2label=dict(enumerate(names or ("a", "b"))))
        folder = tmp_path / "my-segformer"
        transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
        if names is None:
            config = json.loads((folder / "config.json").read_text())
            del config["id2label"]
            (folder / "config.json").write_text(json.dumps(config))
        return folder

    return save


def test_a_file_of_nvlabs(tmp_path, capsys):
    model = nvlabs_file(tmp_path / "segformer.b0.pth")
    out = tmp_path / "b0.safetensors"
    convert([str(tmp_path / "segformer.b0.pth"), "--out", str(out), "--labels", "cityscapes", "--size", "64x128"])
    loaded, header = load_checkpoint(out)
    assert header.labels == CITYSCAPES
    assert (header.model_name, header.working_size_hw) == ("segformer_mit_b0", (64, 128))
    assert header.provenance["source"] == "NVlabs MiT"
    assert header.provenance["config"] == {"weights": "segformer.b0.pth", "half": False}
    assert str(tmp_path) not in json.dumps(header.provenance), "a path of the machine it was converted on"
    clip = torch.randint(0, 256, (1, 1, 3, 64, 128), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(clip), model(clip))
    shown = capsys.readouterr().out
    assert "segformer_mit_b0 from NVlabs MiT, working at 64x128 (as told)" in shown
    assert f"note: {header.provenance['licence_note']}\n" in shown
    assert "non-commercial" in shown


def test_a_folder_of_hugging_face_needs_no_more_than_a_name(hugging_face, tmp_path):
    folder = hugging_face([name.title() for name in CITYSCAPES.names])
    out = tmp_path / "checkpoint.safetensors"
    convert([str(folder), "--out", str(out)])
    header = read_header(out)
    assert header.labels == CITYSCAPES
    assert (header.model_name, header.working_size_hw) == ("segformer_mit_b0", (512, 1024))
    result = (
        Segmenter.from_checkpoint(out, working_size_hw=(64, 96))
        .stream()
        .step(torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8).numpy(), 1)
    )
    assert result.label_map.shape == (48, 64)
    assert result.label_map.max() < 19


def test_classes_of_one_s_own_get_colours(hugging_face, tmp_path):
    out = tmp_path / "checkpoint.safetensors"
    convert([str(hugging_face(ANIMALS)), "--out", str(out)])
    labels = read_header(out).labels
    convert([str(tmp_path / "my-segformer" / "model.safetensors"), "--out", str(out), "--overwrite"])
    assert read_header(out).labels == labels
    assert (labels.name, labels.names) == ("my-segformer", ANIMALS)
    assert labels.dynamic == ("dog", "Person, individual")
    assert len(set(labels.palette)) == 4


def test_the_preprocessing_of_hugging_face_is_heeded(hugging_face, tmp_path, capsys):
    folder, out = hugging_face(ANIMALS), tmp_path / "out.safetensors"
    run = [str(folder), "--out", str(out), "--overwrite"]
    preprocessing = {"image_mean": [0.48500001430511475, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    for size, working_size_hw, why in (
        ({"height": 640, "width": 800}, (640, 800), "as its preprocessing"),
        (512, (512, 512), "as its preprocessing"),
        ({"shortest_edge": 512}, (512, 1024), "the default, as its preprocessing has size {'shortest_edge': 512}"),
        (None, (512, 1024), "the default"),
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing | {"size": size}))
        convert(run)
        assert read_header(out).working_size_hw == working_size_hw
        assert f"({why})" in capsys.readouterr().out
    for change, message in (
        ({"image_mean": [0.5, 0.5, 0.5]}, r"image_mean \[0.5, 0.5, 0.5\]; networks here take \[0.485"),
        ({"image_std": [0.229, "a", 0.225]}, "image_std .* networks here take"),
        ({"do_normalize": False}, "has do_normalize false"),
        ({"do_rescale": False}, "has do_rescale false"),
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing | change))
        with pytest.raises(CheckpointError, match=message):
            convert([*run, "--size", "64x64"])


@pytest.mark.parametrize("names", [["floor", "car"], {"1": "car", "0": "floor"}])
def test_names_alone_make_a_label_set(names, tmp_path):
    nvlabs_file(tmp_path / "whole.pth", num_classes=2)
    (tmp_path / "warehouse.json").write_text(json.dumps(names))
    out = tmp_path / "out.safetensors"
    convert([str(tmp_path / "whole.pth"), "--out", str(out), "--labels", str(tmp_path / "warehouse.json")])
    labels = read_header(out).labels
    assert (labels.name, labels.names, labels.dynamic) == ("warehouse", ("floor", "car"), ("car",))


def test_class_names_that_mmcv_stored(tmp_path):
    nvlabs_file(tmp_path / "whole.pth", num_classes=11, meta={"CLASSES": CAMVID.names})
    convert([str(tmp_path / "whole.pth"), "--out", str(tmp_path / "out.safetensors")])
    assert read_header(tmp_path / "out.safetensors").labels == CAMVID


def test_colours_that_mmcv_stored(tmp_path):
    nvlabs_file(tmp_path / "own.pth", num_classes=2, meta={"CLASSES": ("a", "b"), "PALETTE": [[1, 2, 3], [4, 5, 6]]})
    convert([str(tmp_path / "own.pth"), "--out", str(tmp_path / "out.safetensors")])
    assert read_header(tmp_path / "out.safetensors").labels.palette == ((1, 2, 3), (4, 5, 6))


def test_weights_too_large_for_half_precision(tmp_path):
    nvlabs_file(tmp_path / "whole.pth")
    content = torch.load(tmp_path / "whole.pth")
    content["state_dict"]["backbone.norm4.bias"].fill_(1e6)
    torch.save(content, tmp_path / "whole.pth")
    run = [str(tmp_path / "whole.pth"), "--out", str(tmp_path / "out.safetensors"), "--labels", "Cityscapes", "--half"]
    with pytest.raises(CheckpointError, match="too large for float16, so leave out --half"):
        convert(run)
    convert(run[:-1])


def test_a_label_set_from_a_file_and_half_precision(tmp_path):
    model = nvlabs_file(tmp_path / "whole.pth", "segformer_resnet18", num_classes=2, decoder_channels=64)
    labels = LabelSet("two", ("floor", "cart"), ((0, 0, 0), (9, 9, 9)), ("cart",))
    (tmp_path / "two.json").write_text(json.dumps(labels.to_dict()))
    out = tmp_path / "out.safetensors"
    convert([str(tmp_path / "whole.pth"), "--out", str(out), "--labels", str(tmp_path / "two.json"), "--half"])
    loaded, header = load_checkpoint(out)
    assert header.labels == labels
    assert (header.model_name, header.model_options["decoder_channels"]) == ("segformer_resnet18", 64)
    assert out.stat().st_size < 0.55 * (tmp_path / "whole.pth").stat().st_size
    assert torch.equal(loaded.decode_head.linear_pred.weight, model.decode_head.linear_pred.weight.half().float())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--labels", "camvid"], ConfigError, "tells 19 classes apart, label set 'camvid' has 11; pass --labels"),
        ([], ConfigError, "no class names there.*; pass --labels"),
        (
            ["--labels", "absent.json"],
            ConfigError,
            "neither camvid nor cityscapes nor a label file: cannot read",
        ),
        (["--labels", "deep.json"], ConfigError, "deep.json is not readable JSON"),
        (["--labels", "list.json"], ConfigError, "list.json: no class names there.*pass --labels"),
        (
            ["--labels", "cityscapes", "--model", "segformer_mit_b1"],
            CheckpointError,
            "mit_b0, not mit_b1: leave out --model",
        ),
        (["--labels", "cityscapes", "--model", "segformer_vgg"], ConfigError, "no model 'segformer_vgg'"),
        (["--labels", "cityscapes", "--model", "sdcpc_mit_b0"], ConfigError, "what is converted is a SegFormer"),
        (["--labels", "cityscapes", "--size", "8x64"], ConfigError, "size 8x64; both sides must be at least 32"),
    ],
)
def test_settings_that_do_not_fit(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    nvlabs_file(tmp_path / "whole.pth")
    with pytest.raises(error, match=message):
        convert([str(tmp_path / "whole.pth"), "--out", str(tmp_path / "out.safetensors"), *arguments])
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(("names", "message"), [(None, "no class names there"), (("a", "a"), "names a class twice")])
def test_a_config_that_names_no_classes_or_one_twice(names, message, hugging_face, tmp_path):
    with pytest.raises(ConfigError, match=f"{message}.*pass --labels"):
        convert([str(hugging_face(names)), "--out", str(tmp_path / "out.safetensors")])


@pytest.mark.parametrize("ids", [{"1": "a", "2": "b"}, {"0": "a", "1": None}, {"zero": "a", "1": "b"}])
def test_ids_that_do_not_count_from_zero(ids, hugging_face, tmp_path):
    folder = hugging_face(("a", "b"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": ids}))
    with pytest.raises(ConfigError, match="no class names there"):
        convert([str(folder), "--out", str(tmp_path / "out.safetensors")])


def test_an_encoder_alone_is_no_segformer(tmp_path):
    torch.save(nvlabs(build_model("segformer_mit_b0", 2).backbone.state_dict()), tmp_path / "mit_b0.pth")
    with pytest.raises(CheckpointError, match=r"no decode head: it is an encoder.*--model\.backbone_weights"):
        convert([str(tmp_path / "mit_b0.pth"), "--out", str(tmp_path / "out.safetensors")])


def test_an_encoder_of_no_known_size_needs_the_model_s_name(tmp_path):
    nvlabs_file(tmp_path / "whole.pth")
    content = torch.load(tmp_path / "whole.pth")
    del content["state_dict"]["backbone.norm4.weight"]
    torch.save(content, tmp_path / "whole.pth")
    run = [str(tmp_path / "whole.pth"), "--out", str(tmp_path / "out.safetensors"), "--labels", "cityscapes"]
    with pytest.raises(CheckpointError, match="no size that is built here, or incomplete; pass --model"):
        convert(run)
    with pytest.raises(CheckpointError, match=r"1 tensors are missing \(backbone.norm4.weight\)"):
        convert([*run, "--model", "segformer_mit_b0"])


def test_what_exists_is_replaced_only_when_told(tmp_path):
    nvlabs_file(tmp_path / "whole.pth")
    out = tmp_path / "out.safetensors"
    out.write_text("mine")
    run = [str(tmp_path / "whole.pth"), "--out", str(out), "--labels", "cityscapes"]
    with pytest.raises(OutputError, match="pass --overwrite"):
        convert(run)
    assert out.read_text() == "mine"
    convert([*run, "--overwrite"])
    assert read_header(out).labels == CITYSCAPES
