"""The console script ``sdcpc``: finds a command by its entry point and keeps tracebacks from users."""

import ast
import errno
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path

from sdcpc_core.errors import ConfigError, SdcpcError

COMMAND_GROUP = "sdcpc.commands"
"""Entry-point group of the commands: functions ``command(argv: list[str]) -> None``."""

REMEDIES = {
    # A robot's workspace is built by colcon, which installs no requirements.
    "torch": "pip install torch",
    "cv2": "apt install python3-opencv, or pip install opencv-python-headless",
    "safetensors": "pip install safetensors",
    "rich": "pip install rich",
    "yaml": "pip install PyYAML, or write the file as JSON",
    "rclpy": "source the setup file of ROS 2, or pip install '.[ros]' in the checkout",
    "lightning": "pip install '.[train]' in the checkout",
    "tensorboard": "pip install '.[train]' in the checkout",
    "jsonargparse": "pip install '.[train]' in the checkout",
    "torchmetrics": "pip install '.[train]' in the checkout",
    "jinja2": "pip install '.[report]' in the checkout",
    "av": "pip install '.[video]' in the checkout",
    "rosbags": "pip install '.[bag]' in the checkout",
    "transformers": "pip install '.[benchmark]' in the checkout",
}
"""What to do where a module cannot be imported."""

MACHINE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
"""What a full disk or a missing permission raises, wherever it strikes."""


def main() -> int:
    """Run ``sdcpc COMMAND ...``.

    Returns:
        Exit status: 0, 2 for what the user can fix, 130 when interrupted, 141 when the reader of a pipe left.

    Raises:
        SystemExit: 128 and the number of the signal, after SIGTERM or SIGHUP.
    """
    name, *argv = sys.argv[1:] or ["--help"]
    try:
        with _terminated_in_order():
            dispatch(name, argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python flushes standard output once more on exit, and would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (SdcpcError, ImportError, OSError) as err:
        message = explain(err)
        if message is None:
            raise
        print(f"sdcpc {name}: error: {message}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def _terminated_in_order() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP from a closed terminal, remove what is half-written, as Ctrl-C does."""
    # nohup ignores SIGHUP, and means it.
    before = {
        number: handler
        for number in (signal.SIGTERM, signal.SIGHUP)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }

    def end(number: int, _: object) -> None:
        # Shell and kernel may both send it; the second must not break off the cleaning up.
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def dispatch(name: str, argv: list[str]) -> None:
    """Run one command, importing no other.

    Raises:
        ConfigError: there is no such command.
    """
    commands = {command.name: command for command in sorted(entry_points(group=COMMAND_GROUP))}
    if name in ("-h", "--help"):
        print(usage(commands))
    elif name == "--version":
        print("sdcpc", version("sdcpc_ros"))
    elif name in commands:
        commands[name].load()(argv)
    else:
        raise ConfigError(f"no such command; there are: {', '.join(commands)}")


def explain(err: Exception) -> str | None:
    """Say what a user can do about an error; None for a defect, which deserves its traceback."""
    if isinstance(err, SdcpcError):
        return str(err)
    if isinstance(err, OSError):
        return str(err) if err.errno in MACHINE_ERRORS else None
    remedy = REMEDIES.get((getattr(err, "name", None) or "").partition(".")[0])
    return remedy and f"{err}; {remedy}"


def usage(commands: Mapping[str, EntryPoint]) -> str:
    """The text of ``sdcpc --help``."""
    width = max(map(len, commands), default=0)
    lines = [f"  {name:<{width}}  {summary(command)}" for name, command in commands.items()]
    return "\n".join(
        ["usage: sdcpc COMMAND ...", "       sdcpc --version", "", "commands, each with its own --help:", *lines]
    )


def summary(command: EntryPoint) -> str:
    """First line of a command's docstring, read from its source: importing every command would take seconds."""
    spec = find_spec(command.module)
    if spec is None or spec.origin is None:
        return ""
    for node in ast.parse(Path(spec.origin).read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == command.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""
