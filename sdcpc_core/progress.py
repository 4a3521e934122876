"""Progress bars that are gone before an error is told."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")


@contextmanager
def progress(items: Iterable[T], description: str, total: float | None = None) -> Iterator[Iterable[T]]:
    """Show on standard error how far a block has come with its items; nothing where that is no terminal.

    Args:
        items: what the block works through.
        description: of the work.
        total: how many items there are, where their length does not say.

    Yields:
        The items.
    """
    console = Console(stderr=True)
    # As a context: rich.progress.track draws its bar until its generator is collected, which an error delays.
    with Progress(console=console, disable=not console.is_terminal) as bar:
        yield bar.track(items, total=total, description=description)
