import numpy as np
import pytest

from sdcpc_core.errors import ConfigError
from sdcpc_core.labels import CAMVID, CITYSCAPES, LABEL_SETS, LabelSet, label_set_of


def test_camvid_has_the_field_s_order_and_dynamic_classes():
    assert CAMVID.num_classes == 11
    assert CAMVID.names[3] == "Road"
    assert CAMVID.dynamic_ids == (8, 9, 10)
    assert CAMVID.ignore_index == 255


def test_cityscapes_has_the_official_train_ids():
    assert CITYSCAPES.num_classes == 19
    assert CITYSCAPES.names[13] == "car"
    assert CITYSCAPES.palette[13] == (0, 0, 142)
    assert CITYSCAPES.dynamic_ids == (11, 12, 13, 14, 15, 16, 17, 18)
    assert len(set(CITYSCAPES.palette)) == 19


@pytest.mark.parametrize("labels", LABEL_SETS.values(), ids=LABEL_SETS.keys())
def test_the_names_of_a_known_set_are_that_set(labels):
    assert label_set_of([name.upper() for name in labels.names], name="mine") == labels


def test_other_names_get_voc_s_colours_and_the_dynamic_classes_they_say():
    labels = label_set_of(["wall", "Car", "person, human", "scar", "carpet"], name="mine")
    assert labels.name == "mine"
    assert labels.dynamic == ("Car", "person, human")
    assert label_set_of(["Vehicle", "boat;", "human"], name="mine").dynamic == ("Vehicle", "human")
    assert labels.palette == ((128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128))


def test_a_palette_is_taken_when_it_has_a_colour_for_each_name():
    assert label_set_of(["a", "b"], name="mine", palette=[[1, 2, 3], [4, 5, 6]]).palette == ((1, 2, 3), (4, 5, 6))
    for palette in ([[1, 2, 3]], [[1, 2, 3], [4, 5, 256]], [[1, 2, 3], [4, 5]], "ab", 7):
        assert label_set_of(["a", "b"], name="mine", palette=palette).palette == ((128, 0, 0), (0, 128, 0))


def test_colours_of_many_classes_differ_and_none_is_black():
    palette = label_set_of([f"c{i}" for i in range(3000)], name="many").palette
    assert len(set(palette)) == 3000
    assert (0, 0, 0) not in palette


def test_colours_follow_ids_and_the_ignored_is_black():
    label_map = np.array([[3, 255]], np.uint8)
    assert CAMVID.colorize(label_map).tolist() == [[[128, 64, 128], [0, 0, 0]]]


def test_round_trip_through_plain_data():
    assert LabelSet.from_dict(CAMVID.to_dict()) == CAMVID


def test_more_than_255_classes_need_two_bytes():
    many = LabelSet("many", tuple(f"c{i}" for i in range(300)), ((0, 0, 0),) * 300)
    assert many.label_dtype is np.uint16
    assert many.ignore_index == 65535
    assert many.colorize(np.array([[299, 65535]], np.uint16)).shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": []}, "0 classes"),
        ({"names": ["a", "a"]}, "names a class twice"),
        ({"palette": [[0, 0, 0]]}, "colours"),
        ({"palette": [[0, 0, 0], [0, 0, 256]]}, "not an RGB colour"),
        ({"dynamic": ["tram"]}, "tram"),
        ({"names": None}, "names is None, no list of texts"),
        ({"names": "abcdef"}, "names is 'abcdef', no list of texts"),
        ({"names": ["a", 7]}, "names is .*, no list of texts"),
        ({"names": ["a", " "]}, "the name ' '"),
        ({"names": ["a", "b\x1b[1m"]}, r"the name 'b\\x1b"),
        ({"name": 7}, "name is 7, no text"),
        ({"palette": 7}, "palette is 7, no list of colours"),
        ({"palette": [1, 2]}, "palette is .*, no list of colours"),
        ({"palette": [[0, 0, 0], [0, 0, True]]}, "not an RGB colour"),
        ({"dynamic": "b"}, "dynamic is 'b', no list of texts"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    good = {"name": "two", "names": ["a", "b"], "palette": [[0, 0, 0], [1, 1, 1]], "dynamic": ["b"]}
    with pytest.raises(ConfigError, match=message):
        LabelSet.from_dict(good | change)


def test_what_is_absent_is_named():
    with pytest.raises(ConfigError, match="it lacks name, palette"):
        LabelSet.from_dict({"names": ["a"]})
