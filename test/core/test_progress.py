import sys

import pytest

from sdcpc_core.errors import InputError
from sdcpc_core.progress import progress


def broken_off(items) -> None:
    with progress(items, "labelling", 5) as shown:
        for item in shown:
            if item == 2:
                raise InputError("the third is broken")


def test_the_bar_is_over_when_the_error_is_told(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes standard error for a terminal
    with pytest.raises(InputError) as caught:
        broken_off(iter(range(5)))
    print("error", file=sys.stderr)
    del caught
    before, _, after = capsys.readouterr().err.partition("error")
    assert "labelling" in before
    assert after == "\n"


def test_a_log_file_has_no_bar(monkeypatch, capsys):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with progress(range(3), "labelling") as shown:
        assert list(shown) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
