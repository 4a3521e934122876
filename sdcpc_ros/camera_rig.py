"""All cameras of the node on one network: a thread that answers their newest frames in one pass."""

import threading
import time
import traceback
from collections.abc import Callable, Sequence

from rclpy.lifecycle import LifecycleNode
from rclpy.logging import get_logger

from sdcpc_core.streaming import Segmenter
from sdcpc_ros.camera import Camera, Reading
from sdcpc_ros.outputs import SegmentationOutputs
from sdcpc_ros.parameters import NodeParameters

PATIENCE_S = 2.0
"""How long the frames at work may hold up the end of the process; launch files lose their patience after 5 s."""


class CameraRig:
    """The active cameras. In each turn of the worker thread, every camera with a new frame gets one answer.

    So a fast camera cannot crowd out a slow one, and nothing waits for a camera that sends nothing.

    Args:
        node: owner of the subscriptions.
        segmenter: the network.
        outputs: where the results of each camera go, by its name.
        settings: of the node, checked.
        prepare_thread: called in the worker thread before its first frame.

    Attributes:
        cameras: in the order of ``outputs``.
    """

    def __init__(
        self,
        node: LifecycleNode,
        segmenter: Segmenter,
        outputs: dict[str, SegmentationOutputs],
        settings: NodeParameters,
        prepare_thread: Callable[[], None],
    ) -> None:
        self._node = node
        self._segmenter = segmenter
        self._prepare_thread = prepare_thread
        self._something_to_do = threading.Event()
        self._stopping = False
        self.cameras = [
            Camera(node, name, segmenter, results, settings, self._something_to_do.set)
            for name, results in outputs.items()
        ]
        self._thread = threading.Thread(target=self._run, name="segmentation_worker", daemon=True)
        self._thread.start()

    def apply(self, settings: NodeParameters) -> None:
        """Take over those of the parameters, checked, that may change while the node runs."""
        for camera in self.cameras:
            camera.apply(settings)

    def reset(self, reason: str) -> None:
        """Let every camera forget its past before its next frame."""
        for camera in self.cameras:
            camera.reset(reason)

    def enable(self, enabled: bool) -> None:
        """Answer images, or only receive them."""
        for camera in self.cameras:
            camera.enabled = enabled

    def close(self) -> None:
        """Unsubscribe and let the frames at work finish; after a shutdown, when nobody hears of them, not for long."""
        self._stopping = True
        self._something_to_do.set()
        self._thread.join(None if self._node.context.ok() else PATIENCE_S)
        # After a shutdown /rosout is gone, and the node's logger would complain; this one writes to the console only.
        log = self._node.get_logger() if self._node.context.ok() else get_logger("sdcpc_ros")
        for camera in self.cameras:
            camera.close()
            log.info(f"{camera.name}: {camera.health.counts}" if camera.name else str(camera.health.counts))

    def _run(self) -> None:
        self._prepare_thread()
        while True:
            self._something_to_do.wait()
            self._something_to_do.clear()
            if self._stopping:
                return
            self._take_turn()
            self._prepare()

    def _take_turn(self) -> None:
        turns = [(camera, camera.take()) for camera in self.cameras]
        try:
            for camera, turn in turns:
                camera.masks.skip(turn.before)
            self._answer([reading for camera, turn in turns if turn.frame and (reading := camera.read(turn.frame))])
            for camera, turn in turns:
                camera.masks.skip(turn.after)
        except Exception:
            # The worker outlives whatever one turn does to it.
            if self._node.context.ok():
                self._node.get_logger().error(traceback.format_exc())

    def _prepare(self) -> None:
        try:
            for camera in self.cameras:
                if self._something_to_do.is_set():
                    return
                self._segmenter.prepare([camera.stream])
        except Exception:
            # The next frame meets the same trouble, and says so as its own.
            self._node.get_logger().debug(traceback.format_exc())

    def _answer(self, readings: Sequence[Reading]) -> None:
        if not readings:
            return
        started_s = time.monotonic()
        try:
            results = self._segmenter.step_batch(
                [reading.frame for reading in readings],
                with_confidence=any(reading.camera.confidence_wanted for reading in readings),
            )
        except Exception:
            # A full GPU may have room again for the next frames.
            for reading in readings:
                reading.camera.fail(reading, traceback.format_exc())
            return
        infer_ms = 1e3 * (time.monotonic() - started_s)
        for reading, result in zip(readings, results, strict=True):
            try:
                reading.camera.answer(reading, result, infer_ms)
            except Exception:
                reading.camera.fail(reading, traceback.format_exc())
