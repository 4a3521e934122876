"""Half precision: what it changes in the labels, and what its preparation must not change."""

import cv2
import numpy as np
import pytest
import torch
from moving_frames import moving_frames, wake_alignment

from sdcpc_core import CAMVID, Segmenter, build_model

PERIOD_NS = 66_666_667  # 15 Hz
NUM_FRAMES = 5
DIFFERING = {"bf16": 0.005, "fp16": 0.001}
"""Share of the pixels that may be labelled in another way than in float32."""
needs_cuda = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(scope="module")
def val_frames(shared_data):
    files = sorted(shared_data("camvid/val").glob("*.jpg"))[:NUM_FRAMES]
    assert len(files) == NUM_FRAMES
    return [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]


def label_maps(frames, device, precision):
    stream = Segmenter.from_checkpoint(device=device, precision=precision).stream()
    return np.stack([stream.step(frame, (i + 1) * PERIOD_NS).label_map for i, frame in enumerate(frames)])


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "bf16"),
        pytest.param("cuda", "bf16", marks=needs_cuda),
        pytest.param("cuda", "fp16", marks=needs_cuda),
    ],
)
def test_the_shipped_weights_label_almost_alike(val_frames, device, precision):
    exact, coarse = (label_maps(val_frames, device, chosen) for chosen in ("fp32", precision))
    assert 0 < (exact != coarse).mean() <= DIFFERING[precision]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_streams_stay_close(precision, spied_logits):
    model = wake_alignment(build_model("sdcpc_mit_b0", 11))
    frames = moving_frames(8, (64, 96))
    for chosen in ("fp32", precision):
        stream = Segmenter(model, CAMVID, device="cpu", precision=chosen).stream()
        for i, frame in enumerate(frames):
            stream.step(frame, (i + 1) * PERIOD_NS)
    exact, coarse = torch.stack(spied_logits[:8]), torch.stack(spied_logits[8:]).float()
    assert (exact - coarse).abs().mean() < 0.05 * exact.std()


@pytest.mark.parametrize("name", ["sdcpc_mit_b0", "sdcpc_resnet18", "segformer_mit_b0"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_cast_once_are_those_autocast_casts_at_every_step(spied_logits, name, precision):
    model = wake_alignment(build_model(name, 11))
    frame = moving_frames(1, (64, 96))[0]
    Segmenter(model, CAMVID, device="cpu", precision=precision).stream().step(frame, 1)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with torch.inference_mode(), torch.autocast("cpu", dtype):
        logits = model(torch.from_numpy(frame).permute(2, 0, 1)[None, None])
    assert torch.equal(spied_logits[0], logits)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
