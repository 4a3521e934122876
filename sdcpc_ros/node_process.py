"""The segmentation node as a process of its own."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sdcpc_core.errors import SdcpcError
from sdcpc_core.output import write_error

PATIENCE_S = 10.0
"""How long the node may take to finish its frame after it was asked to end."""
ERROR = re.compile(
    r"^\[(?:ERROR|FATAL)\] \[[^]]*\] \[[^]]*\]: (?!.*Traceback)(.*)|^([\w.]+(?:Error|Exception): .*)",
    re.MULTILINE,
)
"""What tells a reason in the log: a line of the node's logger, or the last of a traceback."""
PR_SET_PDEATHSIG = 1


class NodeError(SdcpcError):
    """The node has ended, cannot be reached, is not active or does not answer."""


class NodeProcess:
    """Runs ``segmentation_node``; a context manager that leaves no process behind; on Linux not even when killed.

    Attributes:
        log_path: what the node says.
        namespace: its ROS namespace.
    """

    def __init__(self, log_path: str | Path, parameters: Mapping[str, str], *, namespace: str) -> None:
        """Prepare to run.

        Args:
            log_path: file for what the node says.
            parameters: ROS parameters; the empty ones are left at their defaults.
            namespace: ROS namespace, such as ``"/front"``.
        """
        self.log_path = Path(log_path)
        self.namespace = namespace
        self._command = [sys.executable, "-m", "sdcpc_ros.segmentation_node", "--ros-args", "-r", f"__ns:={namespace}"]
        for name, value in parameters.items():
            if value:
                self._command += ["-p", f"{name}:={value}"]

    def __enter__(self) -> "NodeProcess":
        """Start the node.

        Raises:
            OutputError: the log cannot be written.
        """
        try:
            log = self.log_path.open("wb")
        except OSError as err:
            raise write_error(self.log_path, err) from err
        with log:
            # In a session of its own, Ctrl-C reaches this process alone, which then ends the node in order.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent() if sys.platform == "linux" else None,
            )
        return self

    def __exit__(self, *error) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # A second Ctrl-C ends the waiting as well.
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Make sure that the node runs.

        Raises:
            NodeError: it has ended.
        """
        if (code := self._process.poll()) is not None:
            raise NodeError(f"the node ended with exit code {code}")

    def last_error(self) -> str:
        """The last error in the log, in one line; empty where there is none."""
        errors = ERROR.findall(self.log_path.read_text(errors="replace"))
        # What a user of ROS could do next is of no use here: this node is gone.
        return "".join(errors[-1]).partition(". Correct it")[0] if errors else ""


def _end_with_parent() -> Callable[[], None]:
    """Make what a new process calls so that it ends when the thread that started it does, even by SIGKILL."""
    # Looked up before the fork: after it, another thread's lock may be held for ever.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask
