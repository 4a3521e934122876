"""The parts of a step: what each does, and the least time that its operations and its bytes take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from torch import Tensor, nn

from sdcpc_core.benchmark.roofline import Roofline
from sdcpc_core.benchmark.setting import Setting
from sdcpc_core.streaming import PRECISIONS

Route = Literal["device", "upload", "download"]


@dataclass
class PartOfStep:
    """A part of a step, and what it takes at least.

    Attributes:
        name: of the part.
        run: does its work on the inputs that it has in the step.
        macs: multiply-accumulates, attention products and all.
        num_bytes: weights, inputs and outputs, each moved once.
        route: where the bytes move.
        times_ms: durations on the device.
    """

    name: str
    run: Callable[[], object]
    macs: int
    num_bytes: int
    route: Route
    times_ms: list[float] = field(default_factory=list)

    def floor_ms(self, roofline: Roofline) -> float:
        """Least duration: of its operations or of its bytes, whichever takes longer."""
        bytes_per_s = {
            "device": roofline.copied_bytes_per_s,
            "upload": roofline.uploaded_bytes_per_s,
            "download": roofline.downloaded_bytes_per_s,
        }[self.route]
        return 1e3 * max(self.macs / roofline.macs_per_s, self.num_bytes / bytes_per_s if bytes_per_s else 0.0)


@dataclass
class SplitStep:
    """The step of one contender, in parts and whole.

    Attributes:
        setting: see there.
        parts: in the order of their work.
        step_ms: durations of the whole step, as a user waits.
    """

    setting: Setting
    parts: list[PartOfStep] = field(default_factory=list)
    step_ms: list[float] = field(default_factory=list)

    def part(
        self,
        name: str,
        function: Callable[..., object],
        *inputs: object,
        modules: Sequence[nn.Module] = (),
        macs: int = 0,
        route: Route = "device",
    ) -> object:
        """Add a part and do its work once.

        Args:
            name: of the part.
            function: its work.
            *inputs: what it has in the step.
            modules: whose weights it reads.
            macs: multiply-accumulates for one camera.
            route: where its bytes move.

        Returns:
            What it gives, for the parts after it.
        """
        output = function(*inputs)
        # Over the bus every byte goes once, on the device it is read and written.
        moved = _num_bytes(inputs) + (_num_bytes(output) if route == "device" else 0)
        weights = sum(parameter.numel() for module in modules for parameter in module.parameters())
        num_bytes = moved + weights * PRECISIONS[self.setting.precision].itemsize
        run = partial(function, *inputs)
        self.parts.append(PartOfStep(name, run, macs * self.setting.cameras, num_bytes, route))
        return output


def _num_bytes(values: object) -> int:
    """Of all tensors and pictures in nested sequences."""
    if isinstance(values, Tensor | np.ndarray):
        return values.nbytes
    return sum(map(_num_bytes, values)) if isinstance(values, list | tuple) else 0
