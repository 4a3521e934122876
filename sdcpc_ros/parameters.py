"""The node's parameters: each name, type, default, limit and description, written once."""

from array import array
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from sdcpc_core.errors import ConfigError

if TYPE_CHECKING:
    from rclpy.node import Node


@dataclass(frozen=True)
class Setting:
    """What a user reads about a parameter.

    Attributes:
        description: what ``ros2 param describe`` shows.
        low: smallest value, inclusive.
        high: largest value, inclusive.
        live: takes effect while the node runs; the others are read when it configures.
    """

    description: str
    low: float | None = None
    high: float | None = None
    live: bool = False

    @property
    def limits(self) -> str:
        """The limits in words, empty where there are none."""
        if self.low is None:
            return ""
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class NodeParameters:
    """Parameters of the segmentation node."""

    checkpoint: Annotated[str, Setting("checkpoint file (.safetensors); empty: the one shipped with the package")] = ""
    device: Annotated[str, Setting("where the network runs: cpu, cuda, cuda:1; auto: the GPU if there is one")] = "auto"
    precision: Annotated[str, Setting("arithmetic of the network: fp32, bf16 or fp16")] = "fp32"
    cpu_threads: Annotated[int, Setting("threads of the network on the CPU; 0: PyTorch's choice", low=0, high=1024)] = 0
    working_size: Annotated[
        tuple[int, int],
        Setting("height and width (pixels) at which the network works; 0, 0: the checkpoint's", low=0),
    ] = (0, 0)
    max_gap_s: Annotated[
        float, Setting("a longer pause between two stamps (s) restarts the stream", low=0.001, high=86400)
    ] = 2.0
    overlay_alpha: Annotated[
        float, Setting("share of the class colours in the overlay; the rest is the image", low=0, high=1, live=True)
    ] = 0.5
    autostart: Annotated[bool, Setting("configure and activate at start, without a lifecycle manager")] = True


_HINTS = get_type_hints(NodeParameters, include_extras=True)
_IN_WORDS = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[int, int]: "a list of two whole numbers",
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
    if isinstance(value, list | array):
        value = tuple(value)
    elif wanted is float and type(value) is int:
        value = float(value)
    numbers = value if isinstance(value, tuple) else (value,)
    found = tuple[tuple(map(type, value))] if isinstance(value, tuple) else type(value)
    if found != wanted:
        raise ConfigError(f"parameter {name} is {value!r}; it must be {_IN_WORDS[wanted]}")
    # Asked this way round, because no comparison with a NaN is true.
    high_enough = setting.low is None or all(number >= setting.low for number in numbers)
    low_enough = setting.high is None or all(number <= setting.high for number in numbers)
    if not (high_enough and low_enough):
        raise ConfigError(f"parameter {name} is {value!r}; it must be {setting.limits}")
    return value
