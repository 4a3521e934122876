"""The node's health on ``/diagnostics``."""

import resource
from statistics import median
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from sdcpc_core.labels import LabelSet
from sdcpc_core.report import device_name, latency_ms
from sdcpc_core.streaming import Segmenter
from sdcpc_ros.camera import Camera
from sdcpc_ros.health import LOSSY, Latency, Recent

PERIOD_S = 1.0


def node_status(name: str, state: str, problem: str | None, facts: dict[str, Any]) -> DiagnosticStatus:
    """How the node itself is.

    Args:
        name: full name of the node.
        state: of its life cycle.
        problem: why it is not in the state it should be in, or None.
        facts: more to show.
    """
    level = DiagnosticStatus.ERROR if problem else DiagnosticStatus.OK
    return _status(name, level, problem or state, {"state": state, **facts})


def segmenter_facts(segmenter: Segmenter, checkpoint: str, cpu_threads: int) -> dict[str, Any]:
    """Which network runs where, on a CPU with how many threads, and the memory it takes."""
    facts = {
        "checkpoint": checkpoint,
        "classes": classes_in_words(segmenter.labels),
        "device": device_in_words(segmenter.device, cpu_threads),
        "precision": segmenter.precision,
        "process memory, peak (MiB)": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if segmenter.device.type == "cuda":
        facts["device memory (MiB)"] = torch.cuda.memory_allocated(segmenter.device) >> 20
        facts["device memory, peak (MiB)"] = torch.cuda.max_memory_reserved(segmenter.device) >> 20
    return facts


def classes_in_words(labels: LabelSet) -> str:
    """How many classes there are, and of what."""
    return f"{labels.num_classes} of {labels.name}"


def device_in_words(device: torch.device, cpu_threads: int) -> str:
    """A device with the name of what computes there, and the threads in use if it is a CPU."""
    return f"{device} ({device_name(device, cpu_threads)})"


def camera_status(node_name: str, camera: Camera, now_s: float) -> DiagnosticStatus:
    """How a camera is doing at a steady time (s).

    A warning where frames were bad or lost in the last seconds, an error where none came or none was answered for
    want of a working device.
    """
    recent, silence = camera.health.recent(now_s), camera.check_input(now_s)
    level, message = _judgement(camera, recent, silence)
    counts = {f"frames {name.replace('_', ' ')}": count for name, count in vars(camera.health.counts).items()}
    values = {
        "rate in (Hz)": f"{recent.rate_in_hz:.1f}",
        "rate out (Hz)": f"{recent.rate_out_hz:.1f}",
        **_latencies(recent.latencies),
        **counts,
        **{f"bad: {cause}": count for cause, count in camera.health.causes().items()},
        **{f"reset: {reason}": count for reason, count in camera.health.resets().items()},
        "stamps that could not be used": camera.stream.counts.unusable_stamps,
    }
    if recent.arriving is not None:
        values["images that arrive (%)"] = f"{100 * recent.arriving:.0f}"
    name = f"{node_name}: {camera.name}" if camera.name else f"{node_name}: camera"
    return _status(name, level, message, values)


def _judgement(camera: Camera, recent: Recent, silence: str | None) -> tuple[bytes, str]:
    if silence:
        return DiagnosticStatus.ERROR, silence
    if recent.failed:
        return DiagnosticStatus.ERROR, f"{recent.failed} frames lost to errors; the log has them"
    if recent.bad:
        return DiagnosticStatus.WARN, f"{recent.bad} unusable frames; see 'bad: ...' below"
    if recent.arriving is not None and recent.arriving < LOSSY:
        lost = f"about {100 * (1 - recent.arriving):.0f} % of the images do not arrive"
        return DiagnosticStatus.WARN, f"{lost}: look at the transport of large images (docs/ros.md)"
    if not camera.enabled:
        return DiagnosticStatus.OK, "disabled"
    text = f"{recent.rate_in_hz:.1f} Hz in, {recent.rate_out_hz:.1f} Hz out"
    if recent.latencies:
        text += f", {median(latency.total_ms for latency in recent.latencies):.0f} ms"
    return DiagnosticStatus.OK, text


def _latencies(latencies: tuple[Latency, ...]) -> dict[str, Any]:
    parts = {"latency": [latency.total_ms for latency in latencies]}
    for name in Latency._fields:
        parts[f"latency: {name.removesuffix('_ms')}"] = [getattr(latency, name) for latency in latencies]
    return {
        f"{part}, {what} (ms)": value
        for part, samples_ms in parts.items()
        for what, value in latency_ms(samples_ms).items()
        if value is not None
    }


def _status(name: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=message, hardware_id="", values=pairs)
