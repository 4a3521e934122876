"""Figures of a cell, under the keys of reports."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from sdcpc_core.benchmark.profile import Profile, operations
from sdcpc_core.benchmark.setting import CLIP, HUGGING_FACE, OWN_SEGFORMER, SEGFORMER_EAGER, STREAM, Setting
from sdcpc_core.benchmark.timing import Samples


def cell_figures(setting: Setting, samples: Mapping[str, Samples], profile: Profile | None) -> dict[str, Any]:
    """All that was measured in a cell.

    Returns:
        ``setting``, ``results`` by contender, ``fastest_segformer``, the ratios, ``macs`` of a frame, and ``profile``
        where there is one; JSON values.
    """
    return {
        "setting": {**asdict(setting), "size_hw": list(setting.size_hw)},
        "results": {name: contender_figures(of, setting.cameras) for name, of in samples.items()},
        **ratios(samples),
        **_macs(setting),
        **({"profile": profile_figures(profile)} if profile else {}),
    }


def contender_figures(samples: Samples, cameras: int) -> dict[str, Any]:
    """Figures of one contender; its ``failure`` alone, where it had one."""
    if samples.failure:
        return {"failure": samples.failure}
    median = float(np.median(samples.wall_ms))
    return {
        "latency_ms": {**_spread(samples.wall_ms), "p99": round(float(np.percentile(samples.wall_ms, 99)), 3)},
        "frames_per_s": round(1e3 * cameras / median, 2),
        "cpu_ms": round(float(np.median(samples.cpu_ms)), 2),
        "peak_memory_mb": round(samples.peak_memory_mb),
        "ready_s": round(samples.ready_s, 1),
        "steps": len(samples.wall_ms),
    }


def ratios(samples: Mapping[str, Samples]) -> dict[str, Any]:
    """Ratios of median wall times, streaming SD-CPC over each peer: below 1 the stream is faster.

    Returns:
        Those of the peers that took part, and which Hugging Face SegFormer was the fastest.
    """
    median_ms = {name: float(np.median(of.wall_ms)) for name, of in samples.items() if of.wall_ms}
    if STREAM not in median_ms:
        return {}
    fastest = min(median_ms.keys() & set(HUGGING_FACE), key=median_ms.__getitem__, default=None)
    peers = {
        "streaming_over_segformer": fastest,
        "streaming_over_segformer_eager": SEGFORMER_EAGER,
        "streaming_over_own_segformer": OWN_SEGFORMER,
        "streaming_over_clip": CLIP,
    }
    found = {key: round(median_ms[STREAM] / median_ms[name], 3) for key, name in peers.items() if name in median_ms}
    return {"fastest_segformer": fastest, **found} if fastest else found


def profile_figures(profile: Profile) -> dict[str, Any]:
    """The parts of each contender's step, their floors, their sum, and the whole step."""
    contenders = {}
    for name, step in profile.steps.items():
        parts = [
            {
                "name": part.name,
                "ms": _spread(part.times_ms),
                "macs": part.macs,
                "bytes": part.num_bytes,
                "floor_ms": round(part.floor_ms(profile.roofline), 4),
            }
            for part in step.parts
        ]
        contenders[name] = {
            "parts": parts,
            "sum_ms": round(sum(part["ms"]["median"] for part in parts), 3),
            "floor_ms": round(sum(part["floor_ms"] for part in parts), 3),
            "step_ms": round(float(np.median(step.step_ms)), 3),
        }
    return {"roofline": asdict(profile.roofline), "contenders": contenders}


def _macs(setting: Setting) -> dict[str, Any]:
    totals = []
    for model in (setting.model, f"segformer_{setting.backbone}"):
        parts = operations(model, setting.size_hw, setting.num_classes, setting.num_points).values()
        totals.append({key: sum(part.to_dict()[key] for part in parts) for key in ("macs", "macs_with_attention")})
    stream, segformer = totals
    over = {f"{key}_over_segformer": round(stream[key] / segformer[key], 3) for key in stream}
    return {"macs": {"stream": stream, "segformer": segformer}, **over}


def _spread(samples_ms: list[float]) -> dict[str, float]:
    low, median, high = np.percentile(samples_ms, [25, 50, 75])
    return {"median": round(float(median), 3), "p25": round(float(low), 3), "p75": round(float(high), 3)}
