"""Processes that train together: started together, ended together, heard with one voice."""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from sdcpc_core.errors import ConfigError, SdcpcError
from sdcpc_core.training.config import TrainConfig

PROGRAM = "import sys; from sdcpc_core.cli import main; sys.exit(main())"
PATIENCE_S = 20.0
"""So long a process waits to be ended after another one failed, before it says what that made of its own work."""


class Place(NamedTuple):
    """Where this process stands among those of a run.

    Attributes:
        rank: its number, from 0 on.
        num_processes: on all machines together.
        num_local: on this machine.
    """

    rank: int = 0
    num_processes: int = 1
    num_local: int = 1


def is_launched() -> bool:
    """Whether ``torchrun``, or ``launch`` in the same way, started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def place() -> Place:
    """What ``torchrun`` says of this process; it stands alone where that did not start it."""
    if not is_launched():
        return Place()
    return Place(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))


def launch(config: TrainConfig, argv: Sequence[str]) -> None:
    """Start the processes of a run on this machine, as ``torchrun`` does, and wait for them.

    Args:
        config: how many processes and machines.
        argv: arguments of ``sdcpc train``.

    Raises:
        ConfigError: several machines, and the environment does not say where they meet.
        KeyboardInterrupt: the run was interrupted.
        SystemExit: a process failed and has said why, or a signal ended the run.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    address = [os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT")]
    if config.num_nodes > 1 and not all(address):
        raise ConfigError(
            f"num_nodes is {config.num_nodes}, but MASTER_ADDR and MASTER_PORT do not say where the machines meet; set "
            "them to the same address of one of the machines on all of them, or start the run with torchrun"
        )
    processes = LaunchConfig(
        min_nodes=config.num_nodes,
        max_nodes=config.num_nodes,
        nproc_per_node=config.devices,
        run_id="sdcpc",
        rdzv_backend="c10d",
        rdzv_endpoint=":".join(map(str, address)) if config.num_nodes > 1 else "localhost:0",
        local_addr="localhost" if config.num_nodes == 1 else None,
        max_restarts=0,
    )
    # The processes speak for themselves, and not of parameters without gradients in one phase and none in the other.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.disable(logging.CRITICAL)
    try:
        elastic_launch(processes, sys.executable)("-c", PROGRAM, "train", *argv)
    except ChildFailedError as err:
        rank, failure = err.get_first_failure()
        if failure.exitcode > 0:
            raise SystemExit(failure.exitcode) from None
        name = signal.Signals(-failure.exitcode).name
        print(f"process {rank} of the run was ended by {name}; the others were stopped", file=sys.stderr)
        raise SystemExit(128 - failure.exitcode) from None
    except SignalException as err:
        if err.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + err.sigval) from None
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def one_voice() -> Iterator[None]:
    """Let one process alone say why a run of several failed, whatever follows from it in the others.

    What fails before the processes meet fails in all of them, and the first one says it. After that, an error of this
    package is a cause and is said at once; any other one may follow from a process that is gone, and the launcher gets
    the time to end this one first.
    """
    try:
        yield
    except Exception as err:
        rank, num_processes, _ = place()
        if num_processes > 1:
            is_cause = isinstance(err, SdcpcError) if dist.is_initialized() else rank == 0
            time.sleep(0 if is_cause else PATIENCE_S)
        raise


class OwnTermination(Callback):
    """Keeps the process's own answer to SIGTERM: Lightning's waits for processes that may be gone."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        signal.signal(signal.SIGTERM, self._handler)


def check_devices(config: TrainConfig, device: torch.device) -> None:
    """Refuse more processes than the machine has GPUs.

    Raises:
        ConfigError: there are fewer.
    """
    wanted = place().num_local if is_launched() else config.devices
    if device.type == "cuda" and wanted > torch.cuda.device_count():
        raise ConfigError(
            f"{wanted} processes are to train on this machine, but it has {torch.cuda.device_count()} GPUs; each needs "
            "one of its own: lower devices"
        )
