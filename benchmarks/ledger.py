"""Tables of a document that compare published figures with ours, and say where the two part."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """A published figure and ours.

    Attributes:
        tolerance: largest difference in percent.
    """

    name: str
    published: float
    ours: float
    tolerance: float

    @property
    def percent(self) -> float:
        """How much more ours is."""
        return 100 * (self.ours / self.published - 1)

    @property
    def problem(self) -> str:
        """How the tolerance is missed; empty where it is met."""
        if abs(self.percent) <= self.tolerance:
            return ""
        return f"{self.name}: {self.ours:.2f} is {self.percent:+.1f} % off {self.published}, over {self.tolerance} %"

    @property
    def cells(self) -> list[str]:
        """Published, ours, difference in percent."""
        return [f"{self.published:.2f}", f"{self.ours:.2f}", f"{self.percent:+.1f}".replace("-", "−")]


@dataclass(frozen=True)
class Table:
    """A table of the document and the comparisons that it makes."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    comparisons: Sequence[Comparison] = ()

    def __str__(self) -> str:
        lines = [self.headings, ["---", *["---:"] * (len(self.headings) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_table(document: str, name: str, table: Table) -> str:
    """Put a table between its markers.

    Raises:
        ValueError: the document has no such markers.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"the document has no {begin} … {end}")
    return pattern.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", document)


def problems(tables: Iterable[Table]) -> Iterator[str]:
    """What the comparisons of the tables miss."""
    for table in tables:
        yield from filter(None, (comparison.problem for comparison in table.comparisons))
