"""What the README shows is what there is."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_snippet_runs_as_it_stands():
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {"frame": np.zeros((90, 120, 3), np.uint8), "stamp_ns": 1}
    exec(snippet, names)
    assert names["result"].label_map.shape == (90, 120)
    assert names["result"].label_map.max() < len(names["segmenter"].labels.names)


def test_every_command_exists():
    shown = set(re.findall(r"\bsdcpc ([a-z]+)\b", README))
    assert shown
    assert shown <= {command.name for command in entry_points(group="sdcpc.commands")}


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"], ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
