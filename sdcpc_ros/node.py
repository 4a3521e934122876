"""The ROS 2 node: parameters, life cycle, services and diagnostics."""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.utilities import get_rmw_implementation_identifier
from std_srvs.srv import SetBool, Trigger

from sdcpc_core.errors import ConfigError, SdcpcError
from sdcpc_core.streaming import Segmenter
from sdcpc_ros.camera import check_settings
from sdcpc_ros.camera_rig import CameraRig
from sdcpc_ros.diagnostics import PERIOD_S, camera_status, device_in_words, node_status, segmenter_facts
from sdcpc_ros.outputs import SegmentationOutputs
from sdcpc_ros.parameters import SETTINGS, NodeParameters, checked, declare_parameters, read_parameters
from sdcpc_ros.transport import transport_advice


class SegmentationNode(LifecycleNode):
    """Segments the images of one or several cameras.

    Configuring loads the weights and opens the outputs; activating subscribes. A configured node has parameters,
    a segmenter and outputs; an active one has a rig of cameras as well.
    """

    def __init__(self) -> None:
        super().__init__("segmentation")
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._settings: NodeParameters | None = None
        self._segmenter: Segmenter | None = None
        self._outputs: dict[str, SegmentationOutputs] = {}
        self._rig: CameraRig | None = None
        self._enabled = True
        self._problem: str | None = None
        self._default_threads = torch.get_num_threads()
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/enable", self._on_enable)
        backwards = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False)
        self._jump_handle = self.get_clock().create_jump_callback(backwards, post_callback=self._on_jump_back)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady, because a simulated clock may stand still for the very reason that nothing is played.
        self.create_timer(PERIOD_S, self._diagnose, clock=Clock(clock_type=ClockType.STEADY_TIME))

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
        """Subscribe, with streams that have no memory yet."""
        if not self._succeeds("activate", self._open_rig):
            return TransitionCallbackReturn.FAILURE
        done = super().on_activate(state)
        for outputs in self._outputs.values():
            outputs.announce()
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and let the frames at work finish."""
        self._close_rig()
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
        self._close_rig()
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
            self._problem = None
            return True
        self._problem = f"cannot {transition}: {reason}"
        if self.context.ok():
            self.get_logger().error(self._problem)
        return False

    def _configure(self) -> None:
        parameters = read_parameters(self)
        self._settings = parameters
        torch.set_flush_denormal(True)
        # The network runs in the worker. A second team of threads, started here, would sit idle, but OpenMP would count
        # more threads than processors and let those at work sleep at every turn: a fifth more time for a frame.
        torch.set_num_threads(1)
        self._segmenter = Segmenter.from_checkpoint(
            parameters.checkpoint or None,
            device=parameters.device,
            precision=parameters.precision,
            working_size_hw=parameters.working_size if any(parameters.working_size) else None,
        )
        check_settings(parameters, self._segmenter)
        self._segmenter.warm_up(self._segmenter.working_size_hw, num_streams=len(parameters.cameras))
        labels = self._segmenter.labels
        for camera in parameters.cameras:
            self._outputs[camera] = SegmentationOutputs(self, labels, camera, with_depth=parameters.edit_depth)
        self.get_logger().info(
            f"{self._checkpoint}: {labels.num_classes} classes of {labels.name!r}, "
            f"on {device_in_words(self._segmenter.device, self._cpu_threads)}"
        )
        if advice := transport_advice(get_rmw_implementation_identifier(), os.environ):
            self.get_logger().warning(advice)

    @property
    def _checkpoint(self) -> str:
        return self._settings.checkpoint or "shipped checkpoint"

    @property
    def _cpu_threads(self) -> int:
        """Of the network; the thread that asks has one."""
        return self._settings.cpu_threads or self._default_threads

    def _open_rig(self) -> None:
        self._rig = CameraRig(self, self._segmenter, self._outputs, self._settings, self._prepare_worker)
        self._rig.enable(self._enabled)

    def _close_rig(self) -> None:
        if self._rig is not None:
            self._rig.close()
            self._rig = None

    def _release(self) -> None:
        self._close_rig()
        for outputs in self._outputs.values():
            outputs.destroy()
        self._outputs.clear()
        self._settings = self._segmenter = None
        torch.cuda.empty_cache()

    def _prepare_worker(self) -> None:
        # Both hold for the calling thread and those it starts. Without the first, subnormal numbers in the activations
        # slow a CPU down many times.
        torch.set_flush_denormal(True)
        torch.set_num_threads(self._cpu_threads)

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        ours = {change.name: change.value for change in changes if change.name in SETTINGS}
        try:
            self._change({name: checked(name, value) for name, value in ours.items()})
        except ConfigError as err:
            return SetParametersResult(successful=False, reason=str(err))
        return SetParametersResult(successful=True)

    def _change(self, values: dict[str, Any]) -> None:
        if self._settings is None or not values:
            return
        if fixed := [name for name in values if not SETTINGS[name].live]:
            raise ConfigError(
                f"{', '.join(fixed)} is read when the node configures; deactivate it and clean it up first"
            )
        settings = replace(self._settings, **values)
        check_settings(settings, self._segmenter)
        self._settings = settings
        if self._rig is not None:
            self._rig.apply(settings)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._rig is not None
        response.message = "the next frames start anew" if response.success else "the node is not active"
        if self._rig is not None:
            self._rig.reset("requested")
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        if self._rig is not None:
            self._rig.enable(request.data)
        response.success = True
        response.message = "images are answered" if request.data else "images are received and not answered"
        return response

    def _on_jump_back(self, jump: TimeJump) -> None:
        self.get_logger().info(f"/clock jumped back by {-jump.delta.nanoseconds / 1e9:.3f} s: streams start anew")
        if self._rig is not None:
            self._rig.reset("the clock jumped back")

    def _diagnose(self) -> None:
        name, now_s = self.get_fully_qualified_name(), time.monotonic()
        facts = segmenter_facts(self._segmenter, self._checkpoint, self._cpu_threads) if self._segmenter else {}
        state = "active" if self._rig else "inactive" if self._segmenter else "unconfigured"
        statuses = [node_status(name, state, self._problem, facts)]
        if self._rig is not None:
            statuses += [camera_status(name, camera, now_s) for camera in self._rig.cameras]
        array = DiagnosticArray(status=statuses)
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)
