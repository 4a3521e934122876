"""The ROS 2 node: parameters, life cycle and spinning."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace

from sdcpc_core.errors import ConfigError, MissingDependencyError, SdcpcError

try:
    import rclpy
    import torch
    from rcl_interfaces.msg import SetParametersResult
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
    from rclpy.parameter import Parameter
    from rclpy.utilities import get_rmw_implementation_identifier, try_shutdown

    from sdcpc_core.streaming import Segmenter
    from sdcpc_ros.camera import Camera
    from sdcpc_ros.outputs import SegmentationOutputs
except ModuleNotFoundError as err:
    raise MissingDependencyError(
        f"{sys.executable} has no module {err.name!r}: source a ROS 2 installation and install PyTorch for its "
        "Python, or install both into a virtual environment with: pip install '.[ros]' in the checkout"
    ) from None

from sdcpc_ros.parameters import SETTINGS, NodeParameters, checked, declare_parameters, read_parameters
from sdcpc_ros.ros_logging import core_logs_to
from sdcpc_ros.transport import transport_advice

POLL_S = 0.2
"""Longest wait in one go: an idle node ends this long after a signal at the latest."""


class SegmentationNode(LifecycleNode):
    """Segments the images of one camera.

    Configuring loads the weights and opens the outputs; activating subscribes. A configured node has parameters,
    a segmenter and outputs; an active one has a camera as well.
    """

    def __init__(self) -> None:
        super().__init__("segmentation")
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._settings: NodeParameters | None = None
        self._segmenter: Segmenter | None = None
        self._outputs: SegmentationOutputs | None = None
        self._camera: Camera | None = None

    def start(self) -> None:
        """Configure and activate if ``autostart`` says so; a failure is logged and can be retried."""
        if not self.get_parameter("autostart").value:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS and self.context.ok():
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, load and warm up the network, open the outputs."""
        if self._succeeds("configure", self._configure):
            return super().on_configure(state)
        self._release()
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe, with a stream that has no memory yet."""
        if self._succeeds("activate", self._open_camera):
            return super().on_activate(state)
        return TransitionCallbackReturn.FAILURE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and let the frame at work finish."""
        self._close_camera()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the outputs and free the network."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End from any state."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unexpected error: back to unconfigured."""
        return self.on_cleanup(state)

    def destroy_node(self) -> None:
        """Stop the worker, then destroy the node."""
        self._close_camera()
        super().destroy_node()

    def _succeeds(self, transition: str, step: Callable[[], None]) -> bool:
        # rclpy would turn an exception into a state change and say nothing of its reason.
        try:
            step()
        except SdcpcError as err:
            reason = (
                f"{err}. Correct it, for example with `ros2 param set`, then: "
                f"ros2 lifecycle set {self.get_fully_qualified_name()} {transition}"
            )
        except Exception:
            reason = traceback.format_exc()
        else:
            return True
        if self.context.ok():
            self.get_logger().error(f"cannot {transition}: {reason}")
        return False

    def _configure(self) -> None:
        parameters = read_parameters(self)
        self._settings = parameters
        self._prepare_thread()
        self._segmenter = Segmenter.from_checkpoint(
            parameters.checkpoint or None,
            device=parameters.device,
            precision=parameters.precision,
            working_size_hw=parameters.working_size if any(parameters.working_size) else None,
        )
        self._segmenter.warm_up(self._segmenter.working_size_hw)
        self._outputs = SegmentationOutputs(self)
        labels = self._segmenter.labels
        self.get_logger().info(
            f"{parameters.checkpoint or 'shipped checkpoint'}: {labels.num_classes} classes of {labels.name!r}, "
            f"on {self._segmenter.device}"
        )
        if advice := transport_advice(get_rmw_implementation_identifier(), os.environ):
            self.get_logger().warning(advice)

    def _open_camera(self) -> None:
        self._camera = Camera(
            self,
            self._segmenter,
            self._outputs,
            max_gap_s=self._settings.max_gap_s,
            overlay_alpha=self._settings.overlay_alpha,
            prepare_thread=self._prepare_thread,
        )

    def _close_camera(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def _release(self) -> None:
        self._close_camera()
        if self._outputs is not None:
            self._outputs.destroy()
        self._settings = self._segmenter = self._outputs = None
        torch.cuda.empty_cache()

    def _prepare_thread(self) -> None:
        # Both hold for the calling thread and the threads it starts. Without the first, subnormal numbers in the
        # activations slow a CPU down many times.
        torch.set_flush_denormal(True)
        if self._settings.cpu_threads:
            torch.set_num_threads(self._settings.cpu_threads)

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        ours = {change.name: change.value for change in changes if change.name in SETTINGS}
        try:
            values = {name: checked(name, value) for name, value in ours.items()}
        except ConfigError as err:
            return SetParametersResult(successful=False, reason=str(err))
        if self._settings is not None:
            fixed = [name for name in values if not SETTINGS[name].live]
            if fixed:
                reason = f"{', '.join(fixed)} is read when the node configures; deactivate it and clean it up first"
                return SetParametersResult(successful=False, reason=reason)
            self._settings = replace(self._settings, **values)
            if self._camera is not None:
                self._camera.overlay_alpha = self._settings.overlay_alpha
        return SetParametersResult(successful=True)


def run(args: list[str] | None = None) -> None:
    """Run the node until Ctrl-C or SIGTERM.

    Args:
        args: command line; None for that of the process.
    """
    # rclpy's own handler ends the spinning. Python's would raise KeyboardInterrupt wherever it finds the program,
    # and once more in the middle of the clean-up when both a terminal and a launch file send the signal.
    signal.signal(signal.SIGINT, lambda *_: None)
    rclpy.init(args=args)
    try:
        _spin()
    except Exception:
        # A signal surfaces as ExternalShutdownException or, where rclpy was about to wait, as an error of its core.
        if rclpy.ok():
            raise
    finally:
        try_shutdown()


def _spin() -> None:
    node = SegmentationNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        with core_logs_to(node.get_logger()):
            node.start()
            # Not rclpy.spin: it waits without a limit, misses a shutdown now and then, and an idle node stays.
            while rclpy.ok():
                executor.spin_once(timeout_sec=POLL_S)
    finally:
        executor.shutdown()
        node.destroy_node()
