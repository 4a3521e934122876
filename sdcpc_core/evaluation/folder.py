"""Where an evaluation's folder keeps what belongs to one pass, for who writes it and who reads it again."""

from pathlib import Path

_SUMS = "blocks_"


def sums_file(out: Path, name: str) -> Path:
    """File of a pass's sums over blocks of frames."""
    return out / f"{_SUMS}{name}.npz"


def stored_passes(out: Path) -> list[str]:
    """Names of the passes whose sums are there, sorted."""
    return sorted(path.stem.removeprefix(_SUMS) for path in out.glob(f"{_SUMS}*.npz"))


def labels_folder(out: Path, name: str, *, main: str) -> Path:
    """Folder of a pass's label maps; that of the main pass has the plain name."""
    return out / ("labels" if name == main else f"labels_{name}")
