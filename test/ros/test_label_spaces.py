"""Label spaces of the stacks, read back the way they read them."""

import csv
import io
import json

import pytest
import yaml

from sdcpc_core.errors import InputError, OutputError
from sdcpc_core.labels import CAMVID, CITYSCAPES, LabelSet
from sdcpc_ros.label_spaces import hydra_label_space, kimera_table, label_names_json, labels


@pytest.mark.parametrize("label_set", [CAMVID, CITYSCAPES], ids=lambda it: it.name)
def test_hydra_reads_every_class_and_what_moves(label_set):
    space = yaml.safe_load(hydra_label_space(label_set))
    assert space["total_semantic_labels"] == label_set.num_classes
    assert [(entry["label"], entry["name"]) for entry in space["label_names"]] == list(enumerate(label_set.names))
    assert [label_set.names[index] for index in space["dynamic_labels"]] == list(label_set.dynamic)
    assert space["invalid_labels"] == [255]


def test_names_with_signs_of_yaml_survive():
    odd = LabelSet("odd", ('no: "quote"', "[x, y]", "yes"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    assert [entry["name"] for entry in yaml.safe_load(hydra_label_space(odd))["label_names"]] == list(odd.names)


def test_kimera_finds_the_id_of_every_colour():
    rows = list(csv.DictReader(io.StringIO(kimera_table(CAMVID))))
    assert list(rows[0]) == ["name", "red", "green", "blue", "alpha", "id"]
    id_of = {(int(row["red"]), int(row["green"]), int(row["blue"])): int(row["id"]) for row in rows}
    assert id_of == {colour: index for index, colour in enumerate(CAMVID.palette)} | {(0, 0, 0): 255}
    assert {row["alpha"] for row in rows} == {"255"}


def test_kimera_splits_lines_at_commas():
    table = kimera_table(LabelSet("odd", ("car, van",), ((1, 2, 3),)))
    assert {line.count(",") for line in table.splitlines()} == {5}


def test_classes_that_kimera_could_not_tell_apart_are_refused():
    with pytest.raises(InputError, match="'a' and 'b' have the colour"):
        kimera_table(LabelSet("twins", ("a", "b"), ((1, 2, 3), (1, 2, 3))))
    with pytest.raises(InputError, match="'a' and 'unlabelled'"):
        kimera_table(LabelSet("black", ("a",), ((0, 0, 0),)))


def test_json_tells_ids_names_colours_and_what_moves():
    told = json.loads(label_names_json(CAMVID))
    assert (told["label_set"], told["unlabelled"]) == ("camvid", 255)
    assert told["class_map"][8] == {"class_id": 8, "class_name": "Car", "color_rgb": [64, 0, 128], "dynamic": True}


def test_the_command_prints_or_writes_and_overwrites_nothing(capsys, tmp_path, small_checkpoint):
    labels(["--format", "json", "--checkpoint", str(small_checkpoint)])
    assert json.loads(capsys.readouterr().out)["label_set"] == "camvid"
    out = tmp_path / "space.yaml"
    labels(["--format", "hydra", "--out", str(out)])
    assert yaml.safe_load(out.read_text())["total_semantic_labels"] == 11
    with pytest.raises(OutputError, match="exists"):
        labels(["--format", "hydra", "--out", str(out)])
