"""The command ``sdcpc train``."""

from sdcpc_core.training.config import parse_config


def train(argv: list[str]) -> None:
    """Train a model on a data set and the synthetic drive, or resume its training."""
    config, resume = parse_config(argv)

    from sdcpc_core.training.launch import is_launched, launch
    from sdcpc_core.training.run import check_start, run_training

    if config.devices * config.num_nodes > 1 and not is_launched():
        check_start(config, resume=resume)
        launch(config, argv)
    else:
        run_training(config, resume=resume)
