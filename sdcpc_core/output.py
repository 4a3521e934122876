"""Result files that exist whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sdcpc_core.errors import OutputError


def check_output(path: str | Path, *, overwrite: bool, is_ours: Callable[[Path], bool] = lambda folder: False) -> None:
    """Refuse an output before hours are spent on it.

    Args:
        path: final place.
        overwrite: whether what is there may be replaced.
        is_ours: says of a folder whether it is a result like the one that replaces it; no folder is by default.

    Raises:
        OutputError: the path exists and ``overwrite`` is off, it is neither a file nor such a folder, the process
            works inside it, or its folder cannot be written.
    """
    place = final_place(path)
    if os.path.lexists(place):
        if not overwrite:
            raise OutputError(f"{path} exists; choose another name or pass --overwrite")
        if is_special(place):
            raise OutputError(f"{path} is a device or a pipe; choose another name")
        if place.is_dir() and not is_ours(place):
            raise OutputError(f"{path} is a folder and no earlier result; it is not overwritten")
        if Path.cwd().is_relative_to(place):
            raise OutputError(f"{path} holds the working folder; it is not overwritten")
    folder = next(folder for folder in place.parents if os.path.lexists(folder))
    if not folder.is_dir():
        raise write_error(path, NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder"))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise write_error(path, PermissionError(errno.EACCES, f"no permission to write in {folder}"))


def final_place(path: str | Path) -> Path:
    """Absolute path of what a path, perhaps a link, stands for."""
    # Path.resolve fails on a link that points to itself.
    return Path(os.path.realpath(path))


def is_special(path: str | Path) -> bool:
    """Whether a path is a device, a pipe or the like, which is written to and never replaced."""
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


def make_folder(path: str | Path) -> Path:
    """Make a folder for results and the folders above it.

    Raises:
        OutputError: it cannot be made.
    """
    with output_errors(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


@contextmanager
def atomic_output(
    path: str | Path, *, overwrite: bool = False, is_ours: Callable[[Path], bool] = lambda folder: False
) -> Iterator[Path]:
    """Write a file or folder beside its final place and move it there when the block succeeds.

    An interrupted run, a full disk or any other error leaves the final place as it was.

    Args:
        path: final place; its parent folders are made. Where it is a link, what it points to is replaced.
        overwrite: replace what is there.
        is_ours: as in ``check_output``.

    Yields:
        Path of the same name in a temporary folder beside the final place; the block creates it.

    Raises:
        OutputError: as ``check_output`` does, or the system refuses to write.
    """
    check_output(path, overwrite=overwrite, is_ours=is_ours)
    place = final_place(path)
    make_folder(place.parent)
    with output_errors(path):
        workspace = tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent)
    with workspace as folder:
        draft = Path(folder) / place.name
        yield draft
        with output_errors(path):
            # Asked again: another program may have made a folder there in the meantime.
            if overwrite and place.is_dir() and is_ours(place):
                _replace_folder(place, draft)
            else:
                draft.replace(place)


@contextmanager
def output_errors(path: str | Path) -> Iterator[None]:
    """Raise an ``OutputError`` for ``path`` where the system refuses what the block does."""
    try:
        yield
    except OSError as err:
        raise write_error(path, err) from err


def write_error(path: str | Path, err: OSError) -> OutputError:
    """The error to raise when the system refuses a write to ``path``."""
    return OutputError(f"cannot write {path}: {err.strerror or err}")


def _replace_folder(place: Path, draft: Path) -> None:
    # A folder cannot be renamed onto another one: the old one leaves with the workspace.
    replaced = draft.with_name(f"{draft.name}.replaced")
    place.rename(replaced)
    try:
        draft.replace(place)
    except BaseException:
        replaced.rename(place)
        raise
