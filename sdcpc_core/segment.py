"""The command ``sdcpc segment``: one's own footage with its labels laid over it."""

import argparse
import time
from pathlib import Path

from sdcpc_core.arguments import add_output_arguments, add_segmenter_arguments
from sdcpc_core.errors import ConfigError


def segment(argv: list[str]) -> None:
    """Label a video or a folder of images and write it as an overlay video."""
    arguments = _parse(argv)
    if not 0 <= arguments.alpha <= 1:
        raise ConfigError(f"--alpha {arguments.alpha}; it must lie between 0 and 1")

    from sdcpc_core.output import check_output
    from sdcpc_core.progress import progress
    from sdcpc_core.report import check_report, latency_ms, run_facts, write_report
    from sdcpc_core.streaming import Segmenter
    from sdcpc_core.video import VideoWriter, check_video_name, read_video
    from sdcpc_core.visualization import overlay

    check_video_name(arguments.out)
    check_output(arguments.out, overwrite=arguments.overwrite)
    check_report(arguments.json, out=arguments.out)
    footage = read_video(arguments.footage, rate_hz=arguments.rate)
    segmenter = Segmenter.from_checkpoint(arguments.checkpoint, device=arguments.device, precision=arguments.precision)
    stream = segmenter.stream()
    step_ms = []
    started_s = time.monotonic()
    with (
        VideoWriter(arguments.out, footage.rate_hz, overwrite=arguments.overwrite) as writer,
        progress(footage, "labelling", footage.frame_count) as frames,
    ):
        for frame, stamp_ns in frames:
            result = stream.step(frame, stamp_ns)
            step_ms.append(result.timings.total_ms)
            writer.write(overlay(frame, result.label_map, segmenter.labels, arguments.alpha))
    seconds = time.monotonic() - started_s

    latency = latency_ms(step_ms)
    print(
        f"{arguments.out}: {len(step_ms)} frames in {seconds:.1f} s, {len(step_ms) / seconds:.1f} fps "
        f"({latency['median']:.0f} ms per frame in the network) on {segmenter.device}"
    )
    if arguments.json:
        write_report(
            arguments.json,
            {
                **run_facts(vars(arguments)),
                "device": str(segmenter.device),
                "frames": len(step_ms),
                "seconds": round(seconds, 2),
                "fps": round(len(step_ms) / seconds, 2),
                "latency_ms": latency,
            },
        )


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc segment", description=segment.__doc__)
    parser.add_argument("footage", metavar="VIDEO|FOLDER", type=Path, help="a video, or a folder of png or jpg images")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="overlay video: .mp4, .mov or .mkv")
    add_segmenter_arguments(parser)
    parser.add_argument("--alpha", type=float, default=0.5, help="share of the colours, 0 to 1 (default: %(default)s)")
    parser.add_argument("--rate", metavar="HZ", type=float, help="frames per second of a folder of images")
    add_output_arguments(parser)
    return parser.parse_args(argv)
