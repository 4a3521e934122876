"""The command ``sdcpc labels``: the classes of a checkpoint in the file formats of SLAM stacks."""

import argparse
import csv
import io
import json
from pathlib import Path

from sdcpc_core.errors import InputError
from sdcpc_core.labels import LabelSet

UNLABELLED = "unlabelled"


def labels(argv: list[str]) -> None:
    """Write the classes of a checkpoint as a label space for Hydra, a table for Kimera-Semantics, or JSON."""
    arguments = _parse(argv)

    from sdcpc_core.checkpoint import default_checkpoint, read_header
    from sdcpc_core.output import atomic_output, output_errors

    header = read_header(arguments.checkpoint or default_checkpoint())
    text = FORMATS[arguments.format](header.labels)
    if arguments.out is None:
        print(text, end="")
        return
    with atomic_output(arguments.out, overwrite=arguments.overwrite) as draft, output_errors(arguments.out):
        draft.write_text(text)


def hydra_label_space(label_set: LabelSet) -> str:
    """A label space of Hydra, in YAML; every class that moves is one of ``dynamic_labels``."""
    entries = [f"  - {{label: {index}, name: {json.dumps(name)}}}" for index, name in enumerate(label_set.names)]
    return "\n".join(
        [
            "---",
            f"total_semantic_labels: {label_set.num_classes}",
            f"dynamic_labels: {list(label_set.dynamic_ids)}",
            f"invalid_labels: {[label_set.ignore_index]}",
            "label_names:",
            *entries,
            "",
        ]
    )


def kimera_table(label_set: LabelSet) -> str:
    """The colours of ``segmentation/color`` and the ids they stand for, as Kimera-Semantics reads them.

    Raises:
        InputError: two classes have one colour, or one is black, which stands for unlabelled pixels.
    """
    rows = [
        (name, *colour, 255, index)
        for index, (name, colour) in enumerate(zip(label_set.names, label_set.palette, strict=True))
    ]
    rows.append((UNLABELLED, 0, 0, 0, 255, label_set.ignore_index))
    name_of: dict[tuple[int, ...], str] = {}
    for name, *colour, _, _ in rows:
        if (other := name_of.setdefault(tuple(colour), name)) != name:
            raise InputError(f"classes {other!r} and {name!r} have the colour {colour}: the table would confuse them")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("name", "red", "green", "blue", "alpha", "id"))
    # Kimera splits lines at commas and knows no quotes.
    writer.writerows((name.replace(",", ";"), *rest) for name, *rest in rows)
    return table.getvalue()


def label_names_json(label_set: LabelSet) -> str:
    """The classes as JSON: id, name, colour and whether they move, and the id of unlabelled pixels."""
    classes = [
        {"class_id": index, "class_name": name, "color_rgb": list(colour), "dynamic": index in label_set.dynamic_ids}
        for index, (name, colour) in enumerate(zip(label_set.names, label_set.palette, strict=True))
    ]
    return json.dumps({"label_set": label_set.name, "unlabelled": label_set.ignore_index, "class_map": classes})


FORMATS = {"hydra": hydra_label_space, "kimera": kimera_table, "json": lambda it: label_names_json(it) + "\n"}


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sdcpc labels", description=labels.__doc__)
    parser.add_argument("--format", choices=FORMATS, required=True, help="hydra: YAML; kimera: CSV; json: label_names")
    parser.add_argument("--checkpoint", metavar="FILE", type=Path, help="default: the one that comes with the package")
    parser.add_argument("--out", metavar="FILE", type=Path, help="default: the terminal")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    return parser.parse_args(argv)
