"""Result files that exist whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdcpc_core.errors import OutputError


def check_output(path: str | Path, *, overwrite: bool) -> None:
    """Refuse an output before hours are spent on it.

    Raises:
        OutputError: the path exists and ``overwrite`` is off.
    """
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path} exists; choose another name or pass --overwrite")


def make_folder(path: str | Path) -> Path:
    """Make a folder for results and the folders above it.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise write_error(path, err) from err
    return Path(path)


@contextmanager
def atomic_output(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a file or folder beside its final place and move it there when the block succeeds.

    An interrupted run, a full disk or any other error leaves the final place as it was.

    Args:
        path: final place; its parent folders are made.
        overwrite: replace what is there.

    Yields:
        Path of the same name in a temporary folder beside the final place; the block creates it.

    Raises:
        OutputError: the path exists and ``overwrite`` is off, or its folder cannot be written.
    """
    path = Path(path).absolute()
    check_output(path, overwrite=overwrite)
    make_folder(path.parent)
    try:
        workspace = tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
    except OSError as err:
        raise write_error(path, err) from err
    with workspace as folder:
        draft = Path(folder) / path.name
        yield draft
        try:
            if path.is_dir() and not path.is_symlink():
                # A folder cannot be renamed onto another one: the old one leaves with the workspace.
                path.rename(Path(folder) / "replaced")
            draft.replace(path)
        except OSError as err:
            raise write_error(path, err) from err


def write_error(path: str | Path, err: OSError) -> OutputError:
    """The error to raise when the system refuses a write to ``path``."""
    return OutputError(f"cannot write {path}: {err.strerror or err}")
