"""What the benchmark times: SD-CPC as clip and as stream, and the Hugging Face SegFormer, from bytes to labels."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcpc_core.errors import ConfigError, MissingDependencyError
from sdcpc_core.labels import LabelSet
from sdcpc_core.models import build_model
from sdcpc_core.models.mit import MIT_SIZES
from sdcpc_core.models.normalization import ImageNormalization
from sdcpc_core.ops.upsample_argmax import upsample_argmax
from sdcpc_core.reference_cache import NS_PER_S
from sdcpc_core.streaming import PRECISIONS, Segmenter

FRAME_RATE_HZ = 15
STREAM, CLIP = "stream", "clip"
SEGFORMER_EAGER, SEGFORMER_SDPA, SEGFORMER_COMPILED = "segformer eager", "segformer sdpa", "segformer compiled"

Step = Callable[[np.ndarray], np.ndarray]
"""One contender's work on one frame: (H, W, 3) uint8 RGB -> (H, W) uint8 labels."""


@dataclass(frozen=True)
class Setting:
    """What all contenders of one run share.

    Attributes:
        model: of this package, e.g. ``"sdcpc_mit_b0"``; SegFormer takes the same backbone.
        size_hw: frame size in pixels, which no contender changes.
        num_classes: K.
        device: ``"cpu"``, ``"cuda"`` …
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    """

    model: str
    size_hw: tuple[int, int]
    num_classes: int
    device: str
    precision: str

    @property
    def mit_size(self) -> str | None:
        """``"b0"`` … ``"b5"``; None for a backbone SegFormer does not have."""
        size = self.model.rpartition("mit_")[2]
        return size if size in MIT_SIZES else None


def build_contender(name: str, setting: Setting) -> Step:
    """Build one contender with random weights; their speed does not depend on the weights.

    Raises:
        ConfigError: SegFormer has no such backbone, or a setting cannot work.
        MissingDependencyError: the Hugging Face SegFormer is asked for and transformers is not installed.
    """
    if name not in (STREAM, CLIP):
        return _segformer(name, setting)
    labels = LabelSet("benchmark", tuple(map(str, range(setting.num_classes))), ((0, 0, 0),) * setting.num_classes)
    model = build_model(setting.model, setting.num_classes)
    segmenter = Segmenter(model, labels, device=setting.device, precision=setting.precision)
    return _stream(segmenter) if name == STREAM else _clip(segmenter, setting)


def _stream(segmenter: Segmenter) -> Step:
    stream = segmenter.stream()
    stamps_ns = (tick * NS_PER_S // FRAME_RATE_HZ for tick in count(1))
    return lambda frame: stream.step(frame, next(stamps_ns)).label_map


def _clip(segmenter: Segmenter, setting: Setting) -> Step:
    model, device = segmenter.model, segmenter.device

    @torch.inference_mode()
    def step(frame: np.ndarray) -> np.ndarray:
        # The same picture three times costs what three pictures cost.
        clip = _upload(frame, device).expand(1 + len(model.reference_ages_s), -1, -1, -1)[None]
        with _autocast(setting, device):
            logits = model(clip)
        return upsample_argmax(logits, setting.size_hw).label_map[0].cpu().numpy()

    return step


def _segformer(name: str, setting: Setting) -> Step:
    if setting.mit_size is None:
        raise ConfigError(f"there is no SegFormer on the backbone of {setting.model!r}; use a sdcpc_mit_* model")
    try:
        from transformers import SegformerConfig, SegformerForSemanticSegmentation
    except ImportError as err:
        raise MissingDependencyError(f"the SegFormer to compare with needs transformers ({err})") from err

    size = MIT_SIZES[setting.mit_size]
    config = SegformerConfig(
        depths=list(size.depths),
        hidden_sizes=list(size.embed_dims),
        decoder_hidden_size=256 if setting.mit_size in ("b0", "b1") else 768,
        num_labels=setting.num_classes,
        attn_implementation="eager" if name == SEGFORMER_EAGER else "sdpa",
    )
    device = torch.device(setting.device)
    layout = torch.contiguous_format if name == SEGFORMER_EAGER else torch.channels_last
    model = SegformerForSemanticSegmentation(config).eval().to(device, memory_format=layout)
    if name == SEGFORMER_COMPILED:
        model = torch.compile(model)
    normalize = ImageNormalization().to(device)

    @torch.inference_mode()
    def step(frame: np.ndarray) -> np.ndarray:
        pixels = normalize(_upload(frame, device)).contiguous(memory_format=layout)
        with _autocast(setting, device):
            logits = model(pixels).logits
        full = F.interpolate(logits.float(), setting.size_hw, mode="bilinear", align_corners=False)
        return full.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()

    return step


def _upload(frame: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(frame).to(device).permute(2, 0, 1)[None]


def _autocast(setting: Setting, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, PRECISIONS[setting.precision], enabled=setting.precision != "fp32")
