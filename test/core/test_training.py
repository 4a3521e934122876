import pickle
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_camvid import write_camvid
from small_runs import SMALL, arguments

pytest.importorskip("lightning", reason="training needs Lightning: pip install '.[train]'")

from sdcpc_core.checkpoint import load_checkpoint, save_checkpoint
from sdcpc_core.errors import CheckpointError, ConfigError, InputError, OutputError
from sdcpc_core.labels import CAMVID
from sdcpc_core.metrics import ConfusionMatrix
from sdcpc_core.models.backbones import build_backbone
from sdcpc_core.training.best_weights import BestWeights
from sdcpc_core.training.command import train
from sdcpc_core.training.config import ModelConfig, parse_config
from sdcpc_core.training.last_checkpoint import check_resumable
from sdcpc_core.training.module import SegmentationModule, initial_model


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def finished_run(root, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    train(arguments(root, run_dir))
    return run_dir


def test_the_resumed_run_is_the_unbroken_run(root, finished_run, tmp_path, monkeypatch):
    step = SegmentationModule.training_step

    def power_cut(module, batch, batch_idx):
        if module.global_step == 3:
            raise ConnectionError("the lights went out")
        return step(module, batch, batch_idx)

    with monkeypatch.context() as broken:
        broken.setattr(SegmentationModule, "training_step", power_cut)
        with pytest.raises(ConnectionError):
            train(arguments(root, tmp_path / "broken"))
    train(arguments(root, tmp_path / "broken", "--resume"))

    unbroken, resumed = (
        torch.load(run_dir / "last.ckpt", weights_only=True) for run_dir in (finished_run, tmp_path / "broken")
    )
    assert unbroken["global_step"] == resumed["global_step"] == 4
    for state in ("state_dict", "current_model_state"):
        for name, expected in unbroken[state].items():
            torch.testing.assert_close(resumed[state][name], expected, rtol=0, atol=0, msg=name)

    model, header = load_checkpoint(finished_run / "best.safetensors")
    assert header.working_size_hw == (64, 96)
    assert header.labels.name == "camvid"
    assert header.provenance["steps"] in (2, 4)
    assert header.provenance["config"]["data"]["root"] == root.name
    assert model(torch.zeros(1, 3, 3, 64, 96)).shape == (1, 11, 8, 12)


def test_training_starts_from_a_checkpoint(root, finished_run, tmp_path):
    best = finished_run / "best.safetensors"
    start, _ = load_checkpoint(best)
    again, _ = parse_config(arguments(root, tmp_path / "second", f"--model.checkpoint={best}"))
    model, pretraining = initial_model(again.model, CAMVID)
    assert pretraining == ("best.safetensors", None)
    assert model.training
    for expected, weights in zip(start.parameters(), model.parameters(), strict=True):
        assert torch.equal(weights, expected)
    other, _ = parse_config(["--model.name=sdcpc_resnet18", f"--model.checkpoint={best}"])
    with pytest.raises(ConfigError, match="sdcpc_mit_b0"):
        initial_model(other.model, CAMVID)


def test_training_starts_from_public_encoder_weights_and_hands_on_their_licence(root, tmp_path, capsys):
    encoder = build_backbone("mit_b0")
    public = {name.replace("mlp.dwconv", "mlp.dwconv.dwconv"): tensor for name, tensor in encoder.state_dict().items()}
    torch.save(public, tmp_path / "mit_b0.pth")
    run_dir = tmp_path / "run"
    run = arguments(root, run_dir, f"--model.backbone_weights={tmp_path / 'mit_b0.pth'}", "--schedule.max_steps=2")
    start, pretraining = initial_model(parse_config(run)[0].model, CAMVID)
    for expected, weights in zip(encoder.parameters(), start.backbone.parameters(), strict=True):
        assert torch.equal(weights, expected)

    train(run)
    assert f"initial weights: mit_b0.pth (NVlabs MiT); {pretraining.licence_note}\n" in capsys.readouterr().out
    provenance = load_checkpoint(run_dir / "best.safetensors")[1].provenance
    assert provenance["pretraining"] == "mit_b0.pth (NVlabs MiT)"
    assert provenance["licence_note"] == pretraining.licence_note
    assert "non-commercial" in pretraining.licence_note
    assert "for research use" in provenance["data"]
    _, heir = initial_model(ModelConfig(SMALL.name, SMALL.options, checkpoint=run_dir / "best.safetensors"), CAMVID)
    assert heir == ("best.safetensors", pretraining.licence_note)


@pytest.mark.parametrize("source", ["backbone_weights", "checkpoint"])
@pytest.mark.parametrize("named_again", [True, False])
def test_a_resumed_run_needs_no_first_weights_and_keeps_their_licence(
    root, finished_run, tmp_path, monkeypatch, source, named_again
):
    first, run_dir = tmp_path / "first.pth", tmp_path / "run"
    if source == "backbone_weights":
        encoder = build_backbone("mit_b0").state_dict()
        torch.save(
            {name.replace("mlp.dwconv", "mlp.dwconv.dwconv"): weights for name, weights in encoder.items()}, first
        )
    else:
        model, header = load_checkpoint(finished_run / "best.safetensors")
        save_checkpoint(first, model, replace(header, provenance={"licence_note": "non-commercial"}))
    naming = f"--model.{source}={first}"
    _, pretraining = initial_model(parse_config(arguments(root, run_dir, naming))[0].model, CAMVID)
    train(arguments(root, run_dir, naming, "--schedule.max_steps=2"))
    first.unlink()

    # Whatever the second round scores, its weights are saved.
    monkeypatch.setattr(BestWeights, "load_state_dict", lambda callback, state: None)
    train(arguments(root, run_dir, *([naming] if named_again else []), "--resume"))
    provenance = load_checkpoint(run_dir / "best.safetensors")[1].provenance
    assert provenance["steps"] == 4
    assert (provenance["pretraining"], provenance["licence_note"]) == pretraining
    assert "non-commercial" in provenance["licence_note"]


def test_encoder_weights_that_do_not_fit_start_no_run(root, tmp_path):
    with pytest.raises(CheckpointError, match="absent"):
        train(arguments(root, tmp_path / "run", f"--model.backbone_weights={tmp_path / 'absent.pth'}"))
    torch.save(build_backbone("resnet18").state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError, match="resnet18"):
        train(arguments(root, tmp_path / "run", f"--model.backbone_weights={tmp_path / 'resnet18.pth'}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "options", "num_frames", "terms"),
    [
        ("segformer_mit_b0", "{decoder_channels: 16}", 1, set()),
        (
            "sdcpc_mit_b0",
            "{channels: 32, coarse_stage: false, fine_stage: false}",
            1,
            {"cross_entropy", "contrast", "redundancy"},
        ),
        ("sdcpc_mit_b0", "{channels: 32, num_variates: 1}", 3, {"cross_entropy", "contrast", "redundancy"}),
    ],
)
def test_every_model_trains_and_logs_its_losses(root, tmp_path, monkeypatch, name, options, num_frames, terms):
    step, lengths = SegmentationModule.training_step, []

    def measured(module, batch, batch_idx):
        lengths.append(batch.frames.shape[1])
        return step(module, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, "training_step", measured)
    per_model = [f"--model.name={name}", f"--model.options={options}", "--schedule.static_share=0"]
    train(arguments(root, tmp_path, *per_model, "--schedule.max_steps=2"))
    assert lengths == [num_frames] * 2
    model, _ = load_checkpoint(tmp_path / "best.safetensors")
    assert model(torch.zeros(1, 1, 3, 64, 96)).isfinite().all()
    (log,) = tmp_path.glob("logs/*/metrics.csv")
    columns = log.read_text().splitlines()[0].split(",")
    rates = {"learning_rate_encoder", "learning_rate_head", *(["learning_rate_selectors"] if num_frames > 1 else [])}
    assert {column for column in columns if column.startswith("train/")} == {
        f"train/{term}" for term in {"loss", "gradient_norm", *rates, *terms}
    }


def test_a_model_without_a_static_part_cannot_train_it(root, tmp_path):
    with pytest.raises(ConfigError, match=r"segformer_mit_b0 has no static part .* schedule\.static_share to 0"):
        train(arguments(root, tmp_path / "run", "--model.name=segformer_mit_b0", "--model.options={}"))


@pytest.mark.parametrize(
    ("name", "options"),
    [("segformer_mit_b0", "{}"), ("sdcpc_mit_b0", "{channels: 32, coarse_stage: false, fine_stage: false}")],
)
def test_a_model_without_an_alignment_cannot_train_it_alone(root, tmp_path, name, options):
    more = [f"--model.name={name}", f"--model.options={options}", "--schedule.static_share=0"]
    with pytest.raises(ConfigError, match=rf"{name} has no alignment .* schedule\.alignment_share to 0"):
        train(arguments(root, tmp_path / "run", *more, "--schedule.alignment_share=1"))


def test_the_last_phase_moves_the_alignment_alone(root, tmp_path):
    start = ["--schedule.static_share=0", "--optimizer.ema_decay=0", "--data.max_validation_frames=1"]
    train(arguments(root, tmp_path / "before", *start, "--schedule.max_steps=2"))
    before = torch.load(tmp_path / "before" / "last.ckpt", weights_only=False)["state_dict"]
    train(arguments(root, tmp_path / "before", *start, "--schedule.alignment_share=0.5", "--resume"))
    after = torch.load(tmp_path / "before" / "last.ckpt", weights_only=False)["state_dict"]
    moved = {name.split(".")[1] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"dssa"}


def test_of_the_last_phase_the_latest_weights_are_kept(root, tmp_path, monkeypatch):
    scores = iter([50.0, 60.0, 40.0])
    monkeypatch.setattr(ConfusionMatrix, "mIoU", lambda confusion: next(scores))
    whole = ["--schedule.static_share=0", "--schedule.alignment_share=0.5", "--schedule.max_steps=6"]
    train(arguments(root, tmp_path, *whole, "--data.max_validation_frames=1"))
    _, header = load_checkpoint(tmp_path / "best.safetensors")
    assert header.provenance["steps"] == 6


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(root, tmp_path):
    with pytest.raises(ConfigError, match="no run to resume"):
        train(arguments(root, tmp_path, "--resume"))
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(ConfigError, match="holds a run"):
        train(arguments(root, tmp_path))


def test_ctrl_c_says_how_to_continue(root, tmp_path, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGINT)

    def press(module, batch, batch_idx):
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(SegmentationModule, "training_step", press)
        with pytest.raises(KeyboardInterrupt):
            train(arguments(root, tmp_path / "run"))
        assert capsys.readouterr().err == "interrupted; the same command starts anew\n"
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([]), pickle.dumps({"state_dict": {}}), None])
def test_a_broken_run_is_not_resumed(root, finished_run, tmp_path, content):
    if content is None:
        whole = (finished_run / "last.ckpt").read_bytes()
        content = whole[: len(whole) // 2]
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is broken"):
        train(arguments(root, tmp_path, "--resume"))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ("--model.options={channels: 48}", "model.options.channels 32, not 48"),
        ("--model.options={channels: 32, interleave: columns}", "model.options.interleave 'rows', not 'columns'"),
        ("--model.options={channels: 32, weighting: raw}", "model.options.weighting 'positive', not 'raw'"),
        ("--model.options={channels: 32, reference_ages_s: [0.1, 0.4]}", "model.options.reference_ages_s"),
        ("--model.name=sdcpc_resnet18", "model.name 'sdcpc_mit_b0', not 'sdcpc_resnet18'"),
        ("--schedule.validate_every=1", "schedule.validate_every 2, not 1"),
    ],
)
def test_another_run_is_not_resumed(root, finished_run, other, difference):
    with pytest.raises(ConfigError, match=rf"last\.ckpt is of another run: {re.escape(difference)}.*; resume it"):
        train(arguments(root, finished_run, "--resume", other))


def test_a_run_of_an_earlier_version_is_not_resumed(root, finished_run, tmp_path):
    saved = torch.load(finished_run / "last.ckpt", weights_only=True)
    del saved["optimizer_states"][0]["param_groups"][0]["part"]
    torch.save(saved, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="not of a training run of this version; start a run in another"):
        train(arguments(root, tmp_path, "--resume"))


def test_shapes_that_changed_under_the_same_options_are_told(root, finished_run, tmp_path):
    saved = torch.load(finished_run / "last.ckpt", weights_only=True)
    del saved["state_dict"]["model.head.decide.bias"]
    torch.save(saved, tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match=r"last\.ckpt is of another run; resume it with its model\.name"):
        train(arguments(root, tmp_path, "--resume"))


def test_a_run_of_other_classes_is_not_resumed(finished_run):
    module = SegmentationModule(parse_config(arguments("data", finished_run))[0], torch.ones(11), CAMVID)
    check_resumable(finished_run / "last.ckpt", module)
    module.labels = replace(CAMVID, names=(*CAMVID.names[:-1], "Tram"), dynamic=())
    with pytest.raises(ConfigError, match=r"classes .*Bicyclist.*Tram"):
        check_resumable(finished_run / "last.ckpt", module)


@pytest.mark.parametrize("name", ["best.safetensors", "last.ckpt"])
def test_a_full_disk_leaves_the_files_of_the_run_whole(root, finished_run, tmp_path, monkeypatch, full_disk, name):
    run_dir = Path(shutil.copytree(finished_run, tmp_path / "run"))
    before = (run_dir / name).read_bytes()
    # Whatever the next round scores, its weights are saved.
    monkeypatch.setattr(BestWeights, "load_state_dict", lambda callback, state: None)
    room = len(before) // 2  # more than the log needs, and where it is for last.ckpt, enough for the weights
    with full_disk(room), pytest.raises(OutputError, match=rf"cannot write {run_dir / name}: File too large"):
        train(arguments(root, run_dir, "--resume", "--schedule.max_steps=6"))
    assert (run_dir / name).read_bytes() == before
    assert {path.name for path in run_dir.iterdir()} == {path.name for path in finished_run.iterdir()}
    train(arguments(root, run_dir, "--resume", "--schedule.max_steps=6"))
    assert torch.load(run_dir / "last.ckpt", weights_only=True)["global_step"] == 6


def test_an_unwritable_run_is_told_at_once(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        train(arguments(tmp_path / "nowhere", tmp_path / "file" / "run"))


def test_a_device_that_is_not_there_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        train(arguments(tmp_path / "nowhere", tmp_path / "run", "--device=cuda"))


def test_missing_data_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        train(arguments(tmp_path / "nowhere", tmp_path / "run"))
