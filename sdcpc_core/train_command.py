"""The command ``sdcpc train``."""

from sdcpc_core.errors import MissingDependencyError
from sdcpc_core.training_config import parse_config


def train(argv: list[str]) -> None:
    """Train a model on CamVid and the synthetic drive."""
    config, resume = parse_config(argv)
    try:
        from sdcpc_core.training import run_training
    except ImportError as err:
        raise MissingDependencyError(f"{err.name} is missing; install it with: pip install 'sdcpc_ros[train]'") from err
    run_training(config, resume=resume)
