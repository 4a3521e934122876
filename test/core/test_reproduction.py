"""The ledger of published costs, docs/reproduction.md, and the configs of its ablations."""

import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from sdcpc_core.benchmark.timing import Samples
from sdcpc_core.models import build_model
from sdcpc_core.models.sdcpc import SDCPCOptions

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
ABLATIONS = sorted((ROOT / "config" / "train" / "ablation").glob("*.yaml"))
BASES = [
    ROOT / "config" / "train" / f"{name}.yaml" for name in ("vspw_sdcpc_mit_b1", "camvid_mit_b0", "camvid_resnet18")
]

sys.path.insert(0, str(ROOT / "benchmarks"))
import attention_points  # noqa: E402 (scripts import one another by bare name)
import ledger  # noqa: E402
import reproduction  # noqa: E402

sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def document(tmp_path, monkeypatch) -> Path:
    """A copy of the document that the scripts read and write."""
    path = tmp_path / "reproduction.md"
    path.write_text(reproduction.DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(reproduction, "DOCUMENT", path)
    monkeypatch.setattr(attention_points, "DOCUMENT", path)
    return path


@pytest.fixture
def tables(monkeypatch) -> dict[str, ledger.Table]:
    """Every table of the ledger, made once."""
    made = {name: make() for name, make in reproduction.TABLES.items()}
    monkeypatch.setattr(reproduction, "TABLES", {name: lambda table=table: table for name, table in made.items()})
    return made


def test_the_ledger_is_up_to_date_and_within_its_tolerances(document, tables, capsys):
    before = document.read_text(encoding="utf-8")
    assert reproduction.main(["--check"]) == 0, capsys.readouterr().err
    assert reproduction.main([]) == 0
    assert document.read_text(encoding="utf-8") == before


def test_the_check_notices_a_changed_document(document, tables, capsys):
    text = document.read_text(encoding="utf-8")
    document.write_text(text.replace("| 69.20 |", "| 69.30 |", 1), encoding="utf-8")
    assert reproduction.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert "69.30" in document.read_text(encoding="utf-8"), "the check changes nothing"
    assert reproduction.main([]) == 0
    assert document.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["costs", "ablation", "segformer", "complexity"])
def test_the_check_notices_every_figure_off_its_tolerance(document, tables, name, monkeypatch, capsys):
    for index, comparison in enumerate(tables[name].comparisons):
        off = replace(comparison, published=comparison.published * 3)
        comparisons = [*tables[name].comparisons[:index], off, *tables[name].comparisons[index + 1 :]]
        table = replace(tables[name], comparisons=comparisons)
        monkeypatch.setitem(reproduction.TABLES, name, lambda table=table: table)
        assert reproduction.main(["--check"]) == 1
        assert comparison.name in capsys.readouterr().err


def test_a_comparison_says_what_is_wrong():
    fine = ledger.Comparison("B1", published=100, ours=104, tolerance=5)
    assert (fine.problem, fine.cells) == ("", ["100.00", "104.00", "+4.0"])
    low = replace(fine, ours=94)
    assert low.cells[2] == "−6.0"
    assert low.problem == "B1: 94.00 is -6.0 % off 100, over 5 %"


def test_a_table_goes_between_its_markers_and_nowhere_else():
    table = ledger.Table(["", "G"], [["B1", "69.2"]])
    text = "before\n<!-- costs -->\nold\n<!-- /costs -->\nafter <!-- times -->\n"
    filled = ledger.with_table(text, "costs", table)
    markdown = "|  | G |\n| --- | ---: |\n| B1 | 69.2 |"
    assert filled == f"before\n<!-- costs -->\n\n{markdown}\n\n<!-- /costs -->\nafter <!-- times -->\n"
    assert ledger.with_table(filled, "costs", table) == filled
    with pytest.raises(ValueError, match="no <!-- ablation -->"):
        ledger.with_table(text, "ablation", table)


def test_times_are_ratios_to_four_points(document, monkeypatch):
    monkeypatch.setattr(attention_points, "VSPW", (32, 40))
    monkeypatch.setattr(attention_points, "build_model", lambda name, k, **o: build_model("sdcpc_resnet18", k, **o))
    measured = attention_points.measure(rounds=2)
    assert {points: len(samples.wall_ms) for points, samples in measured.items()} == {4: 2, 9: 2, 16: 2}

    by_hand = {
        4: Samples([9.0, 10.0, 11.0], [8.0]),
        9: Samples([12.0, 12.0, 12.0], [12.0]),
        16: Samples([20.0, 20.0, 20.0], [14.0]),
    }
    table = attention_points.table(by_hand, "a machine")
    assert [row[:2] for row in table.rows] == [["4", "1.00"], ["9", "1.20"], ["16", "2.00"]]
    assert [row[3:] for row in table.rows] == [["1.00", "1.00"], ["1.50", "1.19"], ["1.75", "1.54"]]
    assert "a machine" in ledger.with_table(document.read_text(encoding="utf-8"), "times", table)


def test_every_row_of_table_3_has_a_config():
    named = {line.split("[")[1].split("]")[0] for line in map(str, _first_cells(reproduction.ablation()))}
    assert named == {path.stem for path in ABLATIONS}
    assert len(named) == 11


def _first_cells(table: ledger.Table) -> list[str]:
    return [row[0] for row in table.rows]


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.stem)
@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda path: path.stem)
def test_a_config_of_table_3_changes_what_it_names_and_nothing_else(ablation, base):
    pytest.importorskip("jsonargparse")
    from sdcpc_core.training.config import parse_config

    config, _ = parse_config(["--config", str(base), "--config", str(ablation)])
    plain, _ = parse_config(["--config", str(base)])
    written = yaml.safe_load(ablation.read_text(encoding="utf-8"))
    options = written.get("model", {}).get("options", {})
    assert config.model.options == {**plain.model.options, **options}
    defaults = {option.name: option.default for option in fields(SDCPCOptions)}
    assert all(defaults[key] != value for key, value in options.items())
    assert config.loss == replace(plain.loss, **written.get("loss", {}))
    assert config.run_dir == Path("runs") / "ablation" / ablation.stem
    assert (config.data, config.optimizer, config.schedule) == (plain.data, plain.optimizer, plain.schedule)
    if config.model.name.startswith("sdcpc"):
        with torch.device("meta"):
            assert build_model(config.model.name, 11, **config.model.options).options.items() >= options.items()
