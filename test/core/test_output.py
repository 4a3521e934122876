import os
from pathlib import Path

import pytest

from sdcpc_core.errors import OutputError
from sdcpc_core.output import atomic_output, check_output


def write(path: Path, text: str = "new", **options) -> None:
    with atomic_output(path, **options) as draft:
        draft.write_text(text)


def write_folder(path: Path, **options) -> None:
    with atomic_output(path, **options) as draft:
        draft.mkdir()
        (draft / "new").touch()


def anything(folder: Path) -> bool:
    return True


def test_a_file_never_replaces_a_folder(tmp_path):
    (tmp_path / "home").mkdir()
    with pytest.raises(OutputError, match="home is a folder and no earlier result"):
        write(tmp_path / "home", overwrite=True)

    def overtaken() -> None:
        with atomic_output(tmp_path / "late", overwrite=True) as draft:
            draft.touch()
            (tmp_path / "late").mkdir()

    with pytest.raises(OutputError, match="cannot write"):
        overtaken()
    assert (tmp_path / "late").is_dir()


def test_a_folder_is_replaced_only_by_its_like(tmp_path):
    result = tmp_path / "replaced"
    result.mkdir()
    (result / "old").touch()
    with pytest.raises(OutputError, match="no earlier result"):
        write_folder(result, overwrite=True, is_ours=lambda folder: (folder / "metadata.yaml").exists())
    write_folder(result, overwrite=True, is_ours=lambda folder: (folder / "old").exists())
    assert [path.name for path in result.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [result]


@pytest.mark.parametrize("name", [".", "..", "link"])
def test_the_working_folder_is_never_replaced(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match="holds the working folder"):
        write_folder(Path(name), overwrite=True, is_ours=anything)


def test_a_folder_that_cannot_be_exchanged_stays(tmp_path):
    (tmp_path / "result").mkdir()
    with (
        pytest.raises(OutputError, match="cannot write"),
        atomic_output(tmp_path / "result", overwrite=True, is_ours=anything),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_link_stays_and_what_it_stands_for_is_replaced(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    write(tmp_path / "link", overwrite=True)
    write(tmp_path / "loop", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == (tmp_path / "loop").read_text() == "new"


def test_devices_and_pipes_are_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(OutputError, match="device or a pipe"):
            check_output(path, overwrite=True)
    assert (tmp_path / "pipe").is_fifo()


def test_an_unwritable_place_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        check_output(tmp_path / "file" / "below" / "report.json", overwrite=False)
    check_output(tmp_path / "new" / "report.json", overwrite=False)
    assert not (tmp_path / "new").exists()
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="no permission"):
        check_output(tmp_path / "report.json", overwrite=False)
