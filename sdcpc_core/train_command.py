"""The command ``sdcpc train``."""

from sdcpc_core.training_config import parse_config


def train(argv: list[str]) -> None:
    """Train a model on a data set and the synthetic drive, or resume its training."""
    config, resume = parse_config(argv)

    from sdcpc_core.training_run import run_training

    run_training(config, resume=resume)
