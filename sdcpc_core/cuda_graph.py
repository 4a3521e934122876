"""Functions of tensors as CUDA graphs: captured once per shape, then replayed with one call of the driver."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

logger = logging.getLogger(__name__)


class Recording(NamedTuple):
    """A function bound to buffers.

    Attributes:
        inputs: static buffers in the structure of the function's arguments.
        outputs: static buffers in the structure of its answer, written by each replay. Until another recording is
            replayed: they share memory.
        replay: computes the outputs from the inputs.
    """

    inputs: Any
    outputs: Any
    replay: Callable[[], None]


Recorder = Callable[[Callable[..., Any], tuple[Any, ...]], Recording]
"""Makes a recording of a function, given the function and arguments of the shapes it is to take."""


class RecordedCalls:
    """Calls functions of tensors by replaying a recording of each, made at its first call with new shapes.

    A call takes and gives what the function does; only where it runs is another matter. Functions must depend on
    nothing but their arguments and on tensors that stay where they are, and are told apart by their names. Where
    recording fails, this and all later shapes are called as they are, and a warning says so once.

    Args:
        record: ``CudaGraphRecorder`` on a CUDA device.
        capacity: recordings kept; the one that has not been used for longest goes first.
    """

    CAPACITY = 96
    """32 combinations of batch and frame size, of a network in three parts."""

    def __init__(self, record: Recorder, capacity: int = CAPACITY) -> None:
        self._record = record
        self._capacity = capacity
        self._recordings: dict[tuple[Any, ...], Recording] = {}
        self._works = True

    def __call__(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """Compute ``function(*inputs)``: tensors, or nested tuples and lists of tensors, in and out."""
        leaves = tree_leaves(inputs)
        key = (function.__name__, *((leaf.shape, leaf.dtype) for leaf in leaves))
        recording = self._recordings.pop(key, None) or self._try_to_record(function, inputs)
        if recording is None:
            return function(*inputs)
        self._recordings[key] = recording
        if len(self._recordings) > self._capacity:
            del self._recordings[next(iter(self._recordings))]
        for buffer, leaf in zip(tree_leaves(recording.inputs), leaves, strict=True):
            buffer.copy_(leaf)
        recording.replay()
        return tree_map(Tensor.clone, recording.outputs)

    def _try_to_record(self, function: Callable[..., Any], inputs: tuple[Any, ...]) -> Recording | None:
        if not self._works:
            return None
        try:
            return self._record(function, inputs)
        except RuntimeError as error:  # the base class of all that CUDA and PyTorch complain of
            self._works = False
            logger.warning("CUDA graphs do not work here, new shapes run without them: %s", error)
            return None


class CudaGraphRecorder:
    """Records functions as CUDA graphs that share one memory pool, for replay one after the other on one stream.

    Args:
        device: of all tensors; the current one whenever a function is recorded.
    """

    WARM_UP_RUNS = 3
    """Kernels are compiled and algorithms chosen in them, which a capture cannot hold."""

    def __init__(self, device: torch.device) -> None:
        # The pool's memory can be shared only by captures on one stream.
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[..., Any], inputs: tuple[Any, ...]) -> Recording:
        """Record a function for inputs of these shapes.

        Raises:
            RuntimeError: the function does what a graph cannot hold, or memory is short.
        """
        buffers = tree_map(Tensor.clone, inputs)
        self._stream.wait_stream(torch.cuda.current_stream())
        # Around the capture, too: one that fails would leave its stream the current one.
        with torch.cuda.stream(self._stream):
            for _ in range(self.WARM_UP_RUNS):
                function(*buffers)
            graph = torch.cuda.CUDAGraph()
            # cuBLAS keeps a workspace for each stream, which torch.compile and the end of any graph of the stream free.
            # Cleared before, it comes from the pool, which lives as long as the graph; after, nobody else finds it.
            torch._C._cuda_clearCublasWorkspaces()
            try:
                # Other threads may use the device meanwhile, as long as this one does nothing but record.
                with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                    outputs = function(*buffers)
            finally:
                torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.current_stream().wait_stream(self._stream)
        return Recording(buffers, outputs, graph.replay)
