"""What files of weights call their tensors, SegFormer's and ResNet's, and what they are called here."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sdcpc_core.errors import CheckpointError
from sdcpc_core.models.mit import NUM_HEADS

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
        renames: patterns and replacements, one after the other, that turn its names into those of this package; by
            then stages are counted from 1.
        licence_note: what its weights may be used for, where that is limited.
    """

    source: str
    mark: re.Pattern[str]
    renames: tuple[tuple[str, str], ...]
    licence_note: str | None


NVLABS = Layout(
    "NVlabs MiT",
    re.compile(r"(patch_embed|block)\d\."),
    ((r"\bdwconv\.dwconv\b", "dwconv"),),
    NVIDIA_LICENCE,
)
HUGGING_FACE = Layout(
    "Hugging Face SegFormer",
    re.compile(r"patch_embeddings\.|block\.\d|stages\.\d\.patch_embeddings\."),
    # The names on disk first, then those that transformers has in memory from version 5 on.
    (
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
STAGE_FROM_ZERO = re.compile(r"^(stages|patch_embeddings|block|layer_norm|decode_head\.linear_\w+)\.(\d)\.")
FIXED_CONFIG = {"num_attention_heads": list(NUM_HEADS), "strides": [4, 2, 2, 2], "hidden_act": "gelu"}
"""What a Hugging Face config may vary and no tensor's shape would tell."""


def in_our_names(tensors: Mapping[str, Tensor], path: str | Path) -> tuple[Layout, dict[str, Tensor]]:
    """Take off what a network was wrapped in, tell the layout, and name its tensors as this package does.

    Args:
        tensors: by the names in a file.
        path: of the file, for messages.

    Returns:
        The layout, and the tensors; those of unknown names keep them.

    Raises:
        CheckpointError: no layout has such names, or two names are of the same tensor.
    """
    bare = _renamed(tensors, lambda name: WRAPPERS.sub("", name), path)
    layout = next((layout for layout in LAYOUTS if any(map(layout.mark.match, bare))), None)
    if layout is None:
        raise CheckpointError(
            f"{path}: its names ({', '.join(sorted(bare)[:3])}, …) are none of MiT or SegFormer of NVlabs or Hugging "
            "Face, nor of a ResNet of torchvision"
        )

    def our_name(name: str) -> str:
        name = STAGE_FROM_ZERO.sub(lambda found: f"{found[1]}.{int(found[2]) + 1}.", name)
        for pattern, replacement in layout.renames:
            name = re.sub(pattern, replacement, name)
        return name

    return layout, _keys_and_values_joined(_renamed(bare, our_name, path))


def _renamed(tensors: Mapping[str, Tensor], rename: Callable[[str], str], path: str | Path) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if (new_name := rename(name)) in renamed:
            raise CheckpointError(f"{path} holds {new_name} more than once; save the one network you want alone")
        renamed[new_name] = tensor
    return renamed


def _keys_and_values_joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for key_name in [name for name in tensors if ".attn.k." in name]:
        value_name, joint_name = (key_name.replace(".attn.k.", f".attn.{both}.") for both in ("v", "kv"))
        key, value = tensors[key_name], tensors.get(value_name)
        # What cannot be joined stays as it is, to be refused by its name.
        like = value is not None and key.ndim > 0 and (key.shape, key.dtype) == (value.shape, value.dtype)
        if like and joint_name not in tensors:
            del tensors[key_name], tensors[value_name]
            tensors[joint_name] = torch.cat([key, value])
    return tensors
