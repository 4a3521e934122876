"""The node's parameters: each name, type, default, limit and description, written once."""

import re
from array import array
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from sdcpc_core.errors import ConfigError
from sdcpc_ros.slam_outputs import FOR_SKIPPED, POLARITIES, PRESETS

if TYPE_CHECKING:
    from rclpy.node import Node

CAMERA_NAME = re.compile(r"(/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*)?", re.ASCII)


@dataclass(frozen=True)
class Setting:
    """What a user reads about a parameter.

    Attributes:
        description: what ``ros2 param describe`` shows.
        low: smallest value, inclusive.
        high: largest value, inclusive.
        choices: the only values; none for any.
        live: takes effect while the node runs; the others are read when it configures.
    """

    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    @property
    def limits(self) -> str:
        """The limits in words, empty where there are none."""
        if self.choices:
            return "one of " + ", ".join(choice or "''" for choice in self.choices)
        if self.low is None:
            return ""
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"

    def allows(self, value: Any) -> bool:
        """Whether a value is one of the choices and within the limits; of a list, each entry."""
        entries = value if isinstance(value, tuple) else (value,)
        # Asked this way round, because no comparison with a NaN is true.
        return (
            (not self.choices or all(entry in self.choices for entry in entries))
            and (self.low is None or all(entry >= self.low for entry in entries))
            and (self.high is None or all(entry <= self.high for entry in entries))
        )


@dataclass(frozen=True)
class NodeParameters:
    """Parameters of the segmentation node."""

    checkpoint: Annotated[str, Setting("checkpoint file (.safetensors); empty: the one shipped with the package")] = ""
    device: Annotated[str, Setting("where the network runs: cpu, cuda, cuda:1; auto: the GPU if there is one")] = "auto"
    precision: Annotated[
        str, Setting("arithmetic of the network; bf16 and fp16 are for GPUs", choices=("fp32", "bf16", "fp16"))
    ] = "fp32"
    cpu_threads: Annotated[int, Setting("threads of the network on the CPU; 0: PyTorch's choice", low=0, high=1024)] = 0
    working_size: Annotated[
        tuple[int, int],
        Setting("height and width (pixels) at which the network works; 0, 0: the checkpoint's", low=0),
    ] = (0, 0)
    cameras: Annotated[
        tuple[str, ...],
        Setting("names of the cameras, whose topics are <name>/image and so on; '': one camera, without a name"),
    ] = ("",)
    image_transport: Annotated[
        str,
        Setting("raw: sensor_msgs/Image; compressed: JPEG or PNG, on .../compressed", choices=("raw", "compressed")),
    ] = "raw"
    max_rate_hz: Annotated[
        float, Setting("images per second and camera to answer; 0: as many as can be", low=0, high=1000, live=True)
    ] = 0.0
    max_gap_s: Annotated[
        float, Setting("a longer pause between two stamps (s) restarts the stream", low=0.001, high=86400, live=True)
    ] = 2.0
    reference_ages_s: Annotated[
        tuple[float, ...],
        Setting("how much older the references are (s), nearest first; 0: the checkpoint's", low=0, high=60, live=True),
    ] = (0.0,)
    overlay_alpha: Annotated[
        float, Setting("share of the class colours in the overlay; the rest is the image", low=0, high=1, live=True)
    ] = 0.5
    mask_preset: Annotated[
        str, Setting("SLAM stack whose convention the mask follows", choices=tuple(PRESETS), live=True)
    ] = ""
    mask_classes: Annotated[
        tuple[str, ...], Setting("classes in the mask; '': the dynamic ones of the checkpoint", live=True)
    ] = ("",)
    mask_polarity: Annotated[
        str, Setting("whether masked pixels are 255 or 0; '': as the preset", choices=tuple(POLARITIES), live=True)
    ] = ""
    mask_dilation_px: Annotated[
        int, Setting("how far masked regions grow (pixels of the camera)", low=0, high=200, live=True)
    ] = 0
    mask_for_skipped: Annotated[
        str,
        Setting("mask of an image that is not answered; '': as the preset", choices=tuple(FOR_SKIPPED), live=True),
    ] = ""
    edit_depth: Annotated[bool, Setting("subscribe to depth and publish it without what the mask covers")] = False
    depth_tolerance_ms: Annotated[
        float, Setting("largest difference between the stamps of image and depth (ms); 0: equal", low=0, high=1000)
    ] = 0.0
    input_timeout_s: Annotated[
        float, Setting("a camera silent for longer (s) is reported", low=0.5, high=86400, live=True)
    ] = 5.0
    autostart: Annotated[bool, Setting("configure and activate at start, without a lifecycle manager")] = True


_HINTS = get_type_hints(NodeParameters, include_extras=True)
_IN_WORDS = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[int, int]: "a list of two whole numbers",
    tuple[str, ...]: "a list of strings, which may be ['']",
    tuple[float, ...]: "a list of numbers, which may be [0.0]",
}

SETTINGS: dict[str, Setting] = {name: hint.__metadata__[0] for name, hint in _HINTS.items()}
"""What a user reads about each parameter, by name."""


def declare_parameters(node: "Node") -> None:
    """Declare every parameter of ``NodeParameters`` with its description.

    Values from the command line or a file are taken as they are, so that a bad one is reported when the node
    configures, and can be corrected then, rather than ending the process.
    """
    from rcl_interfaces.msg import ParameterDescriptor

    for spec in fields(NodeParameters):
        setting = SETTINGS[spec.name]
        descriptor = ParameterDescriptor(
            description=setting.description, additional_constraints=setting.limits, dynamic_typing=True
        )
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        node.declare_parameter(spec.name, default, descriptor)


def read_parameters(node: "Node") -> NodeParameters:
    """The node's parameters as they are set now.

    Raises:
        ConfigError: a value has the wrong type or is out of its limits.
    """
    return NodeParameters(**{name: checked(name, node.get_parameter(name).value) for name in SETTINGS})


def checked(name: str, value: Any) -> Any:
    """A value as its parameter's type: whole numbers pass as floats, lists as tuples.

    Args:
        name: one of ``SETTINGS``.
        value: what ROS delivers.

    Raises:
        ConfigError: the type does not fit or a limit is passed.
    """
    setting, wanted = SETTINGS[name], _HINTS[name].__origin__
    value = _converted(value, wanted)
    if not _is_a(value, wanted):
        raise ConfigError(f"parameter {name} is {value!r}; it must be {_IN_WORDS[wanted]}")
    if not setting.allows(value):
        raise ConfigError(f"parameter {name} is {value!r}; it must be {setting.limits}")
    if name == "cameras":
        _check_cameras(value)
    return value


def _converted(value: Any, wanted: Any) -> Any:
    if isinstance(value, list | tuple | array):
        entry = get_args(wanted)[0] if get_origin(wanted) is tuple else None
        return tuple(_converted(item, entry) for item in value)
    return float(value) if wanted is float and type(value) is int else value


def _is_a(value: Any, wanted: Any) -> bool:
    if get_origin(wanted) is not tuple:
        return type(value) is wanted
    entries = get_args(wanted)
    if not isinstance(value, tuple) or (... not in entries and len(value) != len(entries)):
        return False
    return bool(value) and all(type(entry) is entries[0] for entry in value)


def _check_cameras(names: tuple[str, ...]) -> None:
    for name in names:
        if not CAMERA_NAME.fullmatch(name):
            raise ConfigError(
                f"parameter cameras has {name!r}, which is no ROS name: letters, digits and _ between slashes"
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"parameter cameras is {list(names)}; each camera needs a name of its own")
