"""The command ``sdcpc train``."""

from sdcpc_core.training_config import parse_config


def train(argv: list[str]) -> None:
    """Train a model on a data set and the synthetic drive, or resume its training."""
    config, resume = parse_config(argv)

    from sdcpc_core.training_processes import launch, place
    from sdcpc_core.training_run import check_start, run_training

    if config.devices * config.num_nodes > 1 and place().num_processes == 1:
        check_start(config, resume=resume)
        launch(config, argv)
    else:
        run_training(config, resume=resume)
