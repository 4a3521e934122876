"""What files of weights call their tensors, SegFormer's and ResNet's, and what they are called here."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sdcpc_core.errors import CheckpointError
from sdcpc_core.models.mit import NUM_HEADS
from sdcpc_core.tensor_check import listed, printable

NVIDIA_LICENCE = (
    "MiT and SegFormer weights released by NVIDIA are for non-commercial use only (NVIDIA Source Code License for "
    "SegFormer), in every format and in whatever is trained from them"
)


@dataclass(frozen=True)
class Layout:
    """How a family of files names its tensors.

    Attributes:
        source: for people.
        mark: found at the beginning of names of this layout and of no other.
        renames: patterns and replacements, one after the other, that turn its names into those of this package.
        licence_note: what its weights may be used for, where that is limited.
    """

    source: str
    mark: re.Pattern[str]
    renames: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
    licence_note: str | None

    def our_name(self, name: str) -> str:
        """What this package calls the tensor."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name


NVLABS = Layout(
    "NVlabs MiT",
    re.compile(r"(patch_embed|block)\d\."),
    ((r"\bdwconv\.dwconv\b", "dwconv"),),
    NVIDIA_LICENCE,
)
HUGGING_FACE = Layout(
    "Hugging Face SegFormer",
    re.compile(r"patch_embeddings\.|block\.\d|stages\.\d\.patch_embeddings\."),
    # The names on disk first, then those that transformers has in memory from version 5 on; both count stages from 0.
    (
        (
            r"^(stages|patch_embeddings|block|layer_norm|decode_head\.linear_\w+)\.(\d)\.",
            lambda found: f"{found[1]}.{int(found[2]) + 1}.",
        ),
        (r"^(?:patch_embeddings\.(\d)|stages\.(\d)\.patch_embeddings)\.", r"patch_embed\1\2."),
        (r"^(patch_embed\d)\.layer_norm\.", r"\1.norm."),
        (r"^(?:block\.(\d)|stages\.(\d)\.blocks)\.", r"block\1\2."),
        (r"^(?:layer_norm\.(\d)|stages\.(\d)\.layer_norm)\.", r"norm\1\2."),
        (r"\.(?:layer_norm_1|layernorm_before)\.", ".norm1."),
        (r"\.(?:layer_norm_2|layernorm_after)\.", ".norm2."),
        (r"\.attention\.(?:self\.query|q_proj)\.", ".attn.q."),
        (r"\.attention\.(?:self\.key|k_proj)\.", ".attn.k."),
        (r"\.attention\.(?:self\.value|v_proj)\.", ".attn.v."),
        (r"\.attention\.(?:self\.sr|sequence_reduction\.sequence_reduction)\.", ".attn.sr."),
        (r"\.attention\.(?:self|sequence_reduction)\.layer_norm\.", ".attn.norm."),
        (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
        (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
        (r"\bdwconv\.dwconv\b", "dwconv"),
        (r"^decode_head\.(?:linear_c|linear_projections)\.(\d)\.", r"decode_head.linear_c\1."),
        (r"^decode_head\.linear_fuse\.", "decode_head.linear_fuse.conv."),
        (r"^decode_head\.batch_norm\.", "decode_head.linear_fuse.bn."),
        (r"^decode_head\.classifier\.", "decode_head.linear_pred."),
    ),
    NVIDIA_LICENCE,
)
TORCHVISION = Layout("torchvision ResNet", re.compile(r"layer1\.0\."), (), None)

LAYOUTS = (NVLABS, HUGGING_FACE, TORCHVISION)
WRAPPERS = re.compile(r"^(?:(?:module|model|backbone|encoder|segformer|network|net|_orig_mod)\.)+")
OURS = re.compile(r"block\d\.\d+\.mlp\.dwconv\.(?:weight|bias)$|(?:ssea|dssa)\.")
"""Names that only networks of this package have."""
FIXED_CONFIG = {"num_attention_heads": list(NUM_HEADS), "strides": [4, 2, 2, 2], "hidden_act": "gelu"}
"""What a Hugging Face config may vary and no tensor's shape would tell."""


def in_our_names(tensors: Mapping[str, Tensor], path: str | Path) -> tuple[Layout, dict[str, Tensor], dict[str, str]]:
    """Take off what a network was wrapped in, tell the layout, and name its tensors as this package does.

    Args:
        tensors: by the names in a file.
        path: of the file, for messages.

    Returns:
        The layout; the tensors, of which those of unknown names keep them; by the same names, those in the file.

    Raises:
        CheckpointError: no layout has such names, they are of a training run of this package, or two are of the same
            tensor.
    """
    bare = {name: WRAPPERS.sub("", name) for name in tensors}
    if any(map(OURS.match, bare.values())):
        raise CheckpointError(
            f"{path} holds weights as sdcpc trains them, without what they may be used for; take the checkpoint, which "
            "of a training run is best.safetensors beside it"
        )
    layout = next((layout for layout in LAYOUTS if any(map(layout.mark.match, bare.values()))), None)
    if layout is None:
        raise CheckpointError(
            f"{path}: its names ({listed([printable(name) for name in sorted(tensors)])}) are none of MiT or SegFormer "
            "of NVlabs or Hugging Face, nor of a ResNet of torchvision"
        )
    names: dict[str, str] = {}
    for name in tensors:
        if (ours := layout.our_name(bare[name])) in names:
            both = f"{printable(names[ours])} and {printable(name)}"
            raise CheckpointError(f"{path} holds a tensor twice, {both}; save the one network you want alone")
        names[ours] = name
    renamed = {ours: tensors[name] for ours, name in names.items()}
    _join_keys_and_values(renamed, names)
    return layout, renamed, names


def _join_keys_and_values(tensors: dict[str, Tensor], names: dict[str, str]) -> None:
    for key_name in [name for name in tensors if ".attn.k." in name]:
        value_name, joint_name = (key_name.replace(".attn.k.", f".attn.{both}.") for both in ("v", "kv"))
        key, value = tensors[key_name], tensors.get(value_name)
        # What cannot be joined stays as it is, to be refused by its name.
        like = value is not None and key.ndim > 0 and (key.shape, key.dtype) == (value.shape, value.dtype)
        if like and joint_name not in tensors:
            del tensors[key_name], tensors[value_name]
            tensors[joint_name] = torch.cat([key, value])
            names[joint_name] = f"{names.pop(key_name)} with {names.pop(value_name)}"
