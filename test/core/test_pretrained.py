"""Weights as users have them load whole or not at all."""

import json
import pickle
import re
import warnings
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from foreign_weights import nvlabs
from safetensors.torch import save_file

from sdcpc_core.checkpoint import CheckpointHeader, save_checkpoint
from sdcpc_core.errors import CheckpointError
from sdcpc_core.labels import CAMVID
from sdcpc_core.models import build_model
from sdcpc_core.models.backbones import build_backbone
from sdcpc_core.pretrained.encoder import build_segformer, load_backbone_weights, read_pretrained
from sdcpc_core.pretrained.layouts import in_our_names


def imagenet_head(name: str, prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}.weight": torch.zeros(1000, 4), f"{prefix}{name}.bias": torch.zeros(1000)}


def equal(module: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, tensors[name]) for name, tensor in module.state_dict().items())


@pytest.fixture(scope="module")
def mit():
    """State dict of a MiT-B0; tests copy what they change."""
    torch.manual_seed(1)
    return build_backbone("mit_b0").state_dict()


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(1)
    return build_backbone("resnet18").state_dict()


@pytest.fixture(scope="module")
def segformer():
    torch.manual_seed(1)
    return build_model("segformer_mit_b0", 11).state_dict()


@pytest.mark.parametrize(
    ("prefix", "wrap"),
    [
        ("", lambda tensors: tensors),
        ("", lambda tensors: {"net": tensors, "ema": {}, "best_acc1": torch.tensor(0.5)}),
        ("module.", lambda tensors: {"epoch": 3, "state_dict": tensors, "optimizer": {"lr": 0.1}}),
        ("module.backbone.", lambda tensors: {"model": tensors}),
        ("model.encoder.", lambda tensors: {"model": {"state_dict": tensors}}),
        ("_orig_mod.module.", lambda tensors: {"model_state_dict": tensors}),
    ],
)
def test_a_mit_in_every_wrapping(prefix, wrap, mit, tmp_path):
    torch.save(wrap(nvlabs(mit, prefix) | imagenet_head("head", prefix)), tmp_path / "mit_b0.pth")
    backbone = build_backbone("mit_b0")
    loaded = load_backbone_weights(backbone, tmp_path / "mit_b0.pth")
    assert equal(backbone, mit)
    assert loaded.source == "NVlabs MiT"
    assert loaded.left_out == ("head.bias", "head.weight")
    assert "NVIDIA" in loaded.licence_note
    assert "non-commercial" in loaded.licence_note


def test_every_kind_of_file(mit, tmp_path):
    torch.save(nvlabs(mit), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(nvlabs(mit), tmp_path / "new.pt")
    save_file(nvlabs(mit), tmp_path / "safe.safetensors")
    for name in ("old.pth", "new.pt", "safe.safetensors"):
        backbone = build_backbone("mit_b0")
        load_backbone_weights(backbone, str(tmp_path / name))
        assert equal(backbone, mit), name


def test_half_precision_becomes_that_of_the_model(mit, tmp_path):
    torch.save({name: tensor.half() for name, tensor in nvlabs(mit).items()}, tmp_path / "half.pth")
    backbone = build_backbone("mit_b0")
    load_backbone_weights(backbone, tmp_path / "half.pth")
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    assert equal(backbone, {name: tensor.half().float() for name, tensor in mit.items()})


def test_an_old_resnet_has_no_counters(resnet, tmp_path):
    old = {name: tensor for name, tensor in resnet.items() if "num_batches_tracked" not in name}
    torch.save(old | imagenet_head("fc"), tmp_path / "resnet18-5c106cde.pth")
    backbone = build_backbone("resnet18")
    loaded = load_backbone_weights(backbone, tmp_path / "resnet18-5c106cde.pth")
    assert equal(backbone, resnet)
    assert loaded.source == "torchvision ResNet"
    assert loaded.licence_note is None


def test_a_whole_segformer_of_nvlabs(segformer, tmp_path):
    unused = {"decode_head.conv_seg.weight": torch.zeros(11, 128, 1, 1), "decode_head.conv_seg.bias": torch.zeros(11)}
    torch.save({"meta": {"CLASSES": CAMVID.names}, "state_dict": nvlabs(segformer) | unused}, tmp_path / "whole.pth")
    name, model, loaded = build_segformer(read_pretrained(tmp_path / "whole.pth"))
    assert (name, model.num_classes) == ("segformer_mit_b0", 11)
    assert equal(model, segformer)
    assert loaded.left_out == ("decode_head.conv_seg.bias", "decode_head.conv_seg.weight")

    encoder = build_backbone("mit_b0")
    loaded = load_backbone_weights(encoder, tmp_path / "whole.pth")
    assert equal(encoder, {name.removeprefix("backbone."): tensor for name, tensor in segformer.items()})
    assert all(name.startswith("decode_head.") for name in loaded.left_out)
    assert "decode_head.linear_pred.weight" in loaded.left_out


@pytest.fixture(scope="module")
def peer():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    return transformers.SegformerForImageClassification(transformers.SegformerConfig(num_labels=1000))


def test_a_classifier_of_hugging_face_whole_and_in_shards(peer, tmp_path):
    peer.save_pretrained(tmp_path / "whole")
    peer.save_pretrained(tmp_path / "shards", max_shard_size="4MB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    whole, shards, index = (build_backbone("mit_b0") for _ in range(3))
    loaded = load_backbone_weights(whole, tmp_path / "whole" / "model.safetensors")
    assert loaded.source == "Hugging Face SegFormer"
    assert loaded.left_out == ("classifier.bias", "classifier.weight")
    load_backbone_weights(shards, tmp_path / "shards")
    load_backbone_weights(index, tmp_path / "shards" / "model.safetensors.index.json")
    assert equal(shards, whole.state_dict())
    assert equal(index, whole.state_dict())


def test_shards_of_pickles(mit, tmp_path):
    halves = {"a.bin": {}, "b.bin": {}}
    for number, (name, tensor) in enumerate(nvlabs(mit).items()):
        halves["ab"[number % 2] + ".bin"][name] = tensor
    for name, tensors in halves.items():
        torch.save(tensors, tmp_path / name)
    weight_map = {tensor: file for file, tensors in halves.items() for tensor in tensors}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    backbone = build_backbone("mit_b0")
    load_backbone_weights(backbone, tmp_path)
    assert equal(backbone, mit)


def refusal(module: torch.nn.Module, path) -> str:
    """The message of a refused load, after which the model is as before."""
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_backbone_weights(module, path)
    assert equal(module, before)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("norm4.bias"), r"1 tensors are missing \(norm4.bias\)"),
        (lambda t: t.update({"norm5.bias": torch.zeros(1)}), r"1 tensors are unexpected \(norm5.bias\)"),
        (lambda t: t.update({"norm4.bias": torch.zeros(9)}), r"norm4.bias is \(9,\), not \(256,\)"),
        (lambda t: t.update({"norm4.bias": torch.zeros(256).int()}), "norm4.bias is torch.int32"),
        (lambda t: t.update({"norm4.bias": torch.full((256,), torch.nan)}), r"not finite \(norm4.bias\)"),
        (lambda t: t.update({"norm4.weight": torch.tensor(torch.inf)}), r"norm4.weight is \(\), not \(256,\)"),
        (lambda t: t.update({"module.norm4.bias": torch.zeros(256)}), "a tensor twice, norm4.bias and module.norm4"),
        (lambda t: t.update({"norm4.bias": torch.zeros(1).expand(10**13)}), "bytes of which .* are in the file"),
        (lambda t: t.update({"norm4.bias": torch.zeros(256, device="meta")}), "norm4.bias is .* without values"),
        (lambda t: t.update({"norm4.bias": torch.zeros(256).to_sparse()}), "norm4.bias is nested, sparse"),
        (lambda t: t.update({"norm4.bias": torch.nested.nested_tensor([torch.zeros(2)])}), "norm4.bias is nested"),
        (lambda t: t.update({"norm5\n\x1b[1m": torch.zeros(1)}), r"unexpected \('norm5\\n\\x1b\[1m'\)"),
        (lambda t: t.update({f"x{i}": torch.zeros(1) for i in range(23)}), "23 tensors are unexpected .* and 3 more"),
        (lambda t: t.update({"norm4.bias": "zeros"}), r"1 entries, as 'norm4.bias', are no tensors"),
        (lambda t: t.update({7: torch.zeros(1)}), r"1 entries, as 7, are no tensors"),
    ],
)
def test_tensors_that_are_not_the_encoder_s_are_named(change, message, mit, tmp_path):
    tensors = nvlabs(mit)
    change(tensors)
    torch.save(tensors, tmp_path / "weights.pth")
    said = refusal(build_backbone("mit_b0"), tmp_path / "weights.pth")
    assert re.search(message, said)
    assert said.startswith(str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("without", ["key", "value"])
def test_keys_without_values_are_not_joined(peer, without, tmp_path):
    torch.save(
        {name: t for name, t in peer.state_dict().items() if not re.search(rf"0\.attention\.{without[0]}_proj", name)},
        tmp_path / "weights.pth",
    )
    said = refusal(build_backbone("mit_b0"), tmp_path / "weights.pth")
    assert "tensors are missing (block1.0.attn.kv.bias, block1.0.attn.kv.weight" in said
    assert re.search(r"tensors are unexpected \(segformer\..*0\.attention\.[kv]_proj\.bias", said)


def test_one_tensor_under_two_names(peer, tmp_path):
    in_memory = dict(peer.state_dict())
    torch.save(in_memory | {"segformer.encoder.layer_norm.3.bias": torch.ones(256)}, tmp_path / "weights.pth")
    said = refusal(build_backbone("mit_b0"), tmp_path / "weights.pth")
    assert re.search(r"a tensor twice, segformer.* and segformer.encoder.layer_norm.3.bias; save the one", said)


def test_what_a_training_run_of_this_package_keeps_is_not_taken_for_nvidia_s(mit, tmp_path):
    for name in ("block1.0.mlp.dwconv.weight", "ssea.fusion.weight"):
        torch.save({"state_dict": {f"model.backbone.{name}": torch.zeros(1)}}, tmp_path / "last.ckpt")
        assert "best.safetensors beside it" in refusal(build_backbone("mit_b0"), tmp_path / "last.ckpt")


def test_the_names_on_disk_are_pinned():
    """Written down from a folder of Hugging Face, so that no release of transformers can change what is read."""
    in_encoder = {
        "patch_embeddings.0.proj.weight": "patch_embed1.proj.weight",
        "patch_embeddings.3.layer_norm.bias": "patch_embed4.norm.bias",
        "block.0.0.layer_norm_1.weight": "block1.0.norm1.weight",
        "block.0.1.layer_norm_2.bias": "block1.1.norm2.bias",
        "block.1.0.attention.self.query.weight": "block2.0.attn.q.weight",
        "block.1.0.attention.self.query.bias": "block2.0.attn.q.bias",
        "block.1.0.attention.self.sr.weight": "block2.0.attn.sr.weight",
        "block.1.0.attention.self.layer_norm.weight": "block2.0.attn.norm.weight",
        "block.2.1.attention.output.dense.bias": "block3.1.attn.proj.bias",
        "block.3.0.mlp.dense1.weight": "block4.0.mlp.fc1.weight",
        "block.3.0.mlp.dense2.bias": "block4.0.mlp.fc2.bias",
        "block.3.0.mlp.dwconv.dwconv.weight": "block4.0.mlp.dwconv.weight",
        "layer_norm.0.weight": "norm1.weight",
        "layer_norm.3.bias": "norm4.bias",
    }
    in_decoder = {
        "decode_head.linear_c.0.proj.weight": "decode_head.linear_c1.proj.weight",
        "decode_head.linear_c.3.proj.bias": "decode_head.linear_c4.proj.bias",
        "decode_head.linear_fuse.weight": "decode_head.linear_fuse.conv.weight",
        "decode_head.batch_norm.running_mean": "decode_head.linear_fuse.bn.running_mean",
        "decode_head.batch_norm.num_batches_tracked": "decode_head.linear_fuse.bn.num_batches_tracked",
        "decode_head.classifier.weight": "decode_head.linear_pred.weight",
        "decode_head.classifier.bias": "decode_head.linear_pred.bias",
    }
    expected = {f"segformer.encoder.{name}": ours for name, ours in in_encoder.items()} | in_decoder
    both = [f"segformer.encoder.block.1.0.attention.self.{part}.weight" for part in ("key", "value")]
    tensors = {name: torch.full((1,), float(index)) for index, name in enumerate([*expected, *both])}
    layout, renamed, names = in_our_names(tensors, "a folder")
    assert layout.source == "Hugging Face SegFormer"
    assert renamed.pop("block2.0.attn.kv.weight").tolist() == [len(expected), len(expected) + 1]
    assert names.pop("block2.0.attn.kv.weight") == " with ".join(both)
    assert {names[ours]: ours for ours in renamed} == expected
    assert all(renamed[ours] is tensors[name] for name, ours in expected.items())


@pytest.mark.parametrize(
    ("held", "wanted"), [("mit_b1", "mit_b0"), ("mit_b0", "resnet18"), ("resnet18", "mit_b0"), ("resnet50", "resnet18")]
)
def test_another_encoder_is_called_by_its_name(held, wanted, tmp_path):
    torch.save(nvlabs(build_backbone(held).state_dict()), tmp_path / "weights.pth")
    said = refusal(build_backbone(wanted), tmp_path / "weights.pth")
    assert said.endswith(f"holds {held}, not {wanted}: set model.name to sdcpc_{held} or segformer_{held}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("backbone.norm4.bias"), r"1 tensors are missing \(backbone.norm4.bias\)"),
        (lambda t: t.update({"backbone.new": torch.zeros(1)}), r"unexpected \(backbone.new\)"),
        (lambda t: t.update({"new": torch.zeros(1)}), r"unexpected \(new\)"),
        (lambda t: t.pop("decode_head.linear_pred.weight"), "decode head has no classifier"),
        (lambda t: t.update({"decode_head.linear_pred.weight": torch.zeros(11, 0, 1, 1)}), "has no classifier"),
        # 16 TB, were it built before it is compared.
        (lambda t: t.update({"decode_head.linear_pred.weight": torch.zeros(19, 10**6, 1, 1)}), r"linear_fuse.* is \("),
    ],
)
def test_tensors_that_are_not_a_segformer_s_are_named(change, message, segformer, tmp_path):
    tensors = nvlabs(segformer)
    change(tensors)
    torch.save(tensors, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=message):
        build_segformer(read_pretrained(tmp_path / "weights.pth"))


def test_an_unknown_layout(tmp_path):
    torch.save({"layers.0.0.projection.weight": torch.zeros(1)}, tmp_path / "other.pth")
    said = refusal(build_backbone("mit_b0"), tmp_path / "other.pth")
    assert "its names (layers.0.0.projection.weight) are none of MiT or SegFormer of NVlabs" in said


def test_a_config_of_another_transformer(peer, tmp_path):
    peer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_attention_heads": [1, 1, 1, 1]}))
    said = refusal(build_backbone("mit_b0"), tmp_path)
    assert "its config has num_attention_heads [1, 1, 1, 1]; MiT has [1, 2, 5, 8] here" in said


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_code_in_a_pickle_is_not_run(mit, tmp_path):
    torch.save(nvlabs(mit) | {"extra": Boom()}, tmp_path / "new.pth")
    torch.save(nvlabs(mit) | {"extra": Boom()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(build_backbone("mit_b0"), tmp_path / "module.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps(Boom(), protocol=2))
    for name in ("new.pth", "old.pth", "module.pth", "pickle.pth"):
        said = refusal(build_backbone("mit_b0"), tmp_path / name)
        assert "would run code from the file" in said, name
        assert "weights_only=False" in said, name


@pytest.mark.parametrize("content", [b"", b"text", b"<!DOCTYPE html>", b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_files_that_hold_no_weights(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    said = refusal(build_backbone("mit_b0"), tmp_path / name)
    assert re.search(rf"{name} is not a .*, or is cut off$", said)


def test_whole_files_that_are_not_read_say_so_in_one_line(mit, tmp_path):
    torch.save(nvlabs(mit), tmp_path / "new.pth", pickle_protocol=4)
    torch.save(nvlabs(mit), tmp_path / "old.pth", pickle_protocol=4, _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "script.pth"))
    torch.save(nvlabs(mit), tmp_path / "plain.pth")
    with ZipFile(tmp_path / "plain.pth") as plain, ZipFile(tmp_path / "bomb.pth", "w", ZIP_DEFLATED) as compressed:
        for record in plain.namelist():
            compressed.writestr(record, plain.read(record))
    for name, message in {
        "new.pth": "pickle protocol 4 or newer",
        "old.pth": "pickle protocol 4 or newer",
        "script.pth": "is a TorchScript archive",
        "bomb.pth": "has compressed records",
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            said = refusal(build_backbone("mit_b0"), tmp_path / name)
        assert message in said
        assert "\n" not in said


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pointer_of_git_lfs(name, tmp_path):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert "fetch them with git lfs pull" in refusal(build_backbone("mit_b0"), tmp_path)


def test_truncated_files(mit, tmp_path):
    torch.save(nvlabs(mit), tmp_path / "new.pth")
    torch.save(nvlabs(mit), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(nvlabs(mit), tmp_path / "safe.safetensors")
    for file in tmp_path.iterdir():
        for size in (file.stat().st_size - 100, 1000):
            file.write_bytes(file.read_bytes()[:size])
            assert "is cut off" in refusal(build_backbone("mit_b0"), file), file.name


@pytest.mark.parametrize(
    "content", [{}, [], {"epoch": 1}, {"state_dict": {}}, {"state_dict": [torch.zeros(1)]}, torch.zeros(1)]
)
def test_pickles_without_a_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    assert re.search(r"holds no state dict|its names", refusal(build_backbone("mit_b0"), tmp_path / "weights.pth"))


def test_a_container_that_holds_itself(tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "weights.pth")
    assert "holds no state dict" in refusal(build_backbone("mit_b0"), tmp_path / "weights.pth")


def test_folders_and_names_without_weights(tmp_path):
    assert "it has none of model.safetensors" in refusal(build_backbone("mit_b0"), tmp_path)
    for name in ("absent.pth", "x" * 300):
        assert "no weights at" in refusal(build_backbone("mit_b0"), tmp_path / name)
    assert "hf download nvidia/mit-b0 --local-dir DIR" in refusal(build_backbone("mit_b0"), "nvidia/mit-b0")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("no json", "is not readable JSON"),
        ("[]", "is no index of shards"),
        ("{}", "it has no weight_map of names to files; of a Hugging Face model name the folder"),
        ('{"weight_map": {"a": 1}}', "it has no weight_map"),
        ('{"weight_map": {"a": "../outside.bin"}}', "'../outside.bin', which is no file of weights beside it"),
        ('{"weight_map": {"a": "absent.safetensors"}}', "'absent.safetensors', which is no file"),
        (
            '{"weight_map": {"a": "part.safetensors", "b": "part.safetensors"}}',
            "lack 1 tensors of the index, such as b",
        ),
    ],
)
def test_broken_indices(index, message, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    torch.save({"a": torch.zeros(1)}, tmp_path / "outside.bin")
    save_file({"a": torch.zeros(1)}, folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    assert message in refusal(build_backbone("mit_b0"), folder)


def test_a_checkpoint_of_this_package_gives_its_encoder(tmp_path):
    model = build_model("segformer_mit_b0", 11)
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, model, CheckpointHeader("segformer_mit_b0", {}, CAMVID, (64, 96), {"licence_note": "a note"}))
    encoder = build_backbone("mit_b0")
    loaded = load_backbone_weights(encoder, path)
    assert equal(encoder, model.backbone.state_dict())
    assert (loaded.source, loaded.licence_note) == ("sdcpc checkpoint", "a note")
    with pytest.raises(CheckpointError, match="is a checkpoint of sdcpc already"):
        build_segformer(read_pretrained(path))
