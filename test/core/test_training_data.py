import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fake_camvid import write_camvid
from fake_data_sets import WRITERS, write_folder, write_image, write_mask
from small_runs import arguments

pytest.importorskip("lightning", reason="training needs Lightning: pip install '.[train]'")

from sdcpc_core.checkpoint import load_checkpoint
from sdcpc_core.data.clips import ClipSample, TrainingClips
from sdcpc_core.data.dataset import DataSet
from sdcpc_core.data.kinds import open_data_set
from sdcpc_core.errors import ConfigError, InputError
from sdcpc_core.training.clip_data import ClipData, ValidationFrames, evenly_spread, validation_targets
from sdcpc_core.training.command import train
from sdcpc_core.training.config import DataConfig, TrainConfig


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("camvid"))


def first_batch(root, workers) -> ClipSample:
    config = TrainConfig(data=DataConfig(root=root, crop_hw=(32, 64), synthetic_fraction=0.5, workers=workers))
    return next(iter(ClipData(config).train_dataloader()))


def test_a_loader_process_gives_the_same_clips(root):
    # OpenCV's threads of this process must not keep the loader waiting for threads it does not have.
    cv2.cvtColor(np.zeros((720, 1280, 3), np.uint8), cv2.COLOR_BGR2RGB)
    for here, there in zip(first_batch(root, 0), first_batch(root, 1), strict=True):
        assert torch.equal(here, there)


def small_run(kind, root, run_dir, *more) -> list[str]:
    return arguments(root, run_dir, f"--data.kind={kind}", "--schedule.max_steps=2", *more)


@pytest.mark.parametrize("kind", ["cityscapes", "vspw", "folder"])
def test_every_kind_of_data_is_trained_on(kind, tmp_path):
    data_root = WRITERS[kind](tmp_path / "data")
    train(small_run(kind, data_root, tmp_path / "run"))
    _, header = load_checkpoint(tmp_path / "run" / "best.safetensors")
    data = open_data_set(kind, data_root, "train")
    assert header.labels == data.labels
    assert header.provenance["data"].startswith(data.title)
    stride = ", one frame in 3" if kind == "vspw" else ""  # the others have few labels, and all are scored
    assert header.provenance["val_protocol"].endswith(f"val{stride}; the weights were selected on it")


def test_the_synthetic_drive_has_camvid_s_classes(tmp_path):
    data_root = WRITERS["cityscapes"](tmp_path / "data")
    with pytest.raises(ConfigError, match=r"synthetic_fraction is 0.5.*set it to 0"):
        train(small_run("cityscapes", data_root, tmp_path / "run", "--data.synthetic_fraction=0.5"))


def test_references_before_the_synthetic_drive_begins_start_no_run(root, tmp_path):
    run = arguments(root, tmp_path / "run", "--data.synthetic_fraction=0.5", "--data.reference_offsets=[3, 150]")
    with pytest.raises(ConfigError, match=r"reference_offsets is \[3, 150\], but a synthetic drive has 150 frames"):
        train(run)
    assert not (tmp_path / "run").exists()


def validation_frames(data, offsets=(3, 6), limit=None) -> ValidationFrames:
    targets = evenly_spread(validation_targets(data, stride=offsets[0]), limit)
    return ValidationFrames(data, targets, offsets)


def test_validation_frames_are_targets_and_their_references(tmp_path):
    sparse = open_data_set("cityscapes", WRITERS["cityscapes"](tmp_path / "sparse"), "val")
    frames = validation_frames(sparse)
    assert frames.indices == [13, 16, 19, 43, 46, 49]
    assert [(index, references) for _, index, references in frames if references] == [(19, [16, 13]), (49, [46, 43])]
    assert validation_frames(sparse, offsets=(1, 10)).indices == [9, 18, 19, 39, 48, 49]
    mixed = open_data_set("folder", WRITERS["folder"](tmp_path / "mixed"), "val")
    frames = validation_frames(mixed)
    names = [mixed.records[index].name for index in frames.indices]
    assert names == ["alone", *(f"hall/frame{number}" for number in (0, 1, 4, 7, 10, 13))]
    assert frames[0].references == [0, 0], "no video: its own references"


def test_validation_of_camvid_is_one_frame_in_three(root):
    val = open_data_set("camvid", root, "val")
    frames = validation_frames(val)
    assert [(index, references) for _, index, references in frames] == [(0, [0, 0]), (3, [0, 0]), (6, [3, 0])]
    train = open_data_set("camvid", root, "train")
    frames = validation_frames(train)
    assert [(index, references) for _, index, references in frames] == [(i, [i, i]) for i in range(4)]


def test_a_long_validation_is_thinned_and_says_so(root, tmp_path):
    assert evenly_spread(range(10), 4) == [0, 2, 5, 7]
    assert evenly_spread(range(3), 500) == evenly_spread(range(3), None) == [0, 1, 2]
    train(arguments(root, tmp_path, "--schedule.max_steps=2", "--data.max_validation_frames=2"))
    _, header = load_checkpoint(tmp_path / "best.safetensors")
    assert header.provenance["val_protocol"].endswith(
        "val, one frame in 3, 2 of these 3, evenly spread; the weights were selected on it"
    )


@pytest.mark.parametrize("num_processes", [1, 2, 5])
def test_processes_share_a_validation_without_cutting_off_references(root, num_processes):
    frames = validation_frames(open_data_set("camvid", root, "val"))
    shares = [frames.share(rank, num_processes) for rank in range(num_processes)]
    scored = [index for share in shares for _, index, references in share if references]
    assert scored == [0, 3, 6]
    for share in shares:
        assert {*share.indices} >= {reference for _, _, references in share for reference in references or ()}


def test_frames_of_the_static_phase_come_alone(root, tmp_path, monkeypatch):
    clips, lengths = TrainingClips.__getitem__, []

    def measured(data, key):
        sample = clips(data, key)
        lengths.append(len(sample.frames))
        return sample

    monkeypatch.setattr(TrainingClips, "__getitem__", measured)
    train(arguments(root, tmp_path / "half", "--schedule.static_share=0.5"))
    assert lengths == [1] * 4 + [3] * 4, "two rounds of two steps of two clips"
    lengths.clear()
    # Phases change between rounds alone: the share ends within the first.
    train(arguments(root, tmp_path / "less", "--schedule.static_share=0.25"))
    assert lengths == [1] * 4 + [3] * 4
    lengths.clear()
    train(arguments(root, tmp_path / "all", "--schedule.static_share=1"))
    assert lengths == [1] * 8


def test_frames_alone_do_not_touch_their_references(tmp_path):
    data = open_data_set("folder", write_folder(tmp_path), "train")
    read, getitem = [], type(data).__getitem__
    clips = ClipData(TrainConfig(data=DataConfig("folder", tmp_path, (32, 64), synthetic_fraction=0, workers=0)))
    clips.clip_length = lambda: 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(data), "__getitem__", lambda frames, index: read.append(index) or getitem(frames, index))
        assert next(iter(clips.train_dataloader())).frames.shape[1] == 1
    assert {*read} <= {*data.labelled}


def spoil_id(root) -> Path:
    return write_mask(root / "masks/train/hall/frame7.png", [0, 1, 9])


def spoil_size(root) -> Path:
    return write_mask(root / "masks/train/hall/frame7.png", [0, 1, 2], size_hw=(32, 48))


def spoil_image(root) -> Path:
    # As by an interrupted download; it is there as a reference of frame 7 alone.
    image = root / "images/train/hall/frame4.jpg"
    image.write_bytes(image.read_bytes()[:-50])
    return image


@pytest.mark.parametrize(
    ("spoil", "complaint", "workers"),
    [
        (spoil_id, "holds id 9; the data set uses", 0),
        (spoil_size, "is 48x32 but its image is", 0),
        (spoil_image, "is cut off", 0),
        (spoil_image, "is cut off", 1),
    ],
)
def test_a_broken_file_ends_the_run_in_one_line_and_it_can_be_resumed(tmp_path, spoil, complaint, workers):
    data_root, run_dir = write_folder(tmp_path / "data"), tmp_path / "run"
    run = small_run("folder", data_root, run_dir, "--schedule.max_steps=4", "--schedule.static_share=0")
    train([*run, "--schedule.max_steps=2"])
    last = (run_dir / "last.ckpt").read_bytes()
    broken = spoil(data_root)
    # Class frequencies read all masks before the first step; here only the loader shall meet the file.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataSet, "class_frequencies", lambda data: np.full(2, 0.5))
        with pytest.raises(InputError) as caught:
            train([*run, "--resume", f"--data.workers={workers}"])
    assert str(caught.value).startswith(str(broken))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (run_dir / "last.ckpt").read_bytes() == last
    write_folder(data_root)
    train([*run, "--resume"])
    assert torch.load(run_dir / "last.ckpt", weights_only=True)["global_step"] == 4


def test_a_video_of_one_frame_is_its_own_reference(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / "images" / split / "short" / "1.png")
        write_mask(tmp_path / "masks" / split / "short" / "1.png", [0, 1, 2])
    (tmp_path / "labels.json").write_text(json.dumps({"names": ["floor", "person"], "void": [0], "rate_hz": 20}))
    train(small_run("folder", tmp_path, tmp_path / "run", "--schedule.static_share=0"))
    model, _ = load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("kind", ["camvid", "cityscapes", "vspw", "folder"])
def test_an_empty_split_is_told(tmp_path, kind, split):
    data_root = WRITERS[kind](tmp_path / "data")
    if kind == "vspw":
        (data_root / f"{split}.txt").write_text("\n")
    else:
        for file in [*data_root.glob(f"**/{split}*/**/*.png"), *data_root.glob(f"**/{split}*/**/*.jpg")]:
            file.unlink()
    with pytest.raises(InputError) as caught:
        train(small_run(kind, data_root, tmp_path / "run"))
    assert split in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
