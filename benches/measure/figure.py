"""Figures: samples side by side, and the table that they are told in."""

import statistics
from dataclasses import dataclass, field

UNITS = {
    "ms": lambda v: f"{v:,.0f} ms" if v >= 100 else f"{v:.1f} ms" if v >= 10 else f"{v:.2f} ms",
    "req/s": lambda v: f"{v:,.0f} /s",
    "µs": lambda v: f"{v:.0f} µs",
    "MB": lambda v: f"{v:.1f} MB",
}

HEAD = "| {title} | n | min | median | max | func ÷ this |\n|---|--:|--:|--:|--:|--:|\n"


@dataclass(eq=False)
class Row:
    """What one contender took, in every round."""

    name: str
    unit: str
    values: list = field(default_factory=list)

    def add(self, value):
        self.values.append(value)

    @property
    def median(self):
        return statistics.median(self.values)


@dataclass
class Figure:
    """One question: func's row first, then its peers'. `note` says what is measured, and what is better."""

    title: str
    note: str
    rows: list = field(default_factory=list)
    failure: str = ""

    def row(self, name, unit):
        row = Row(name, unit)
        self.rows.append(row)
        return row

    def markdown(self):
        text = HEAD.format(title=self.title)
        base = next((row for row in self.rows if row.values), None)
        for row in self.rows:
            text += line(row, base)
        if self.failure:
            text += f"| not measured: {one_line(self.failure)} | | | | | |\n"
        return text


def markdown(figures):
    """Gives all tables; what is true of several is said once, below the last of them."""
    text = ""
    for figure, after in zip(figures, [*figures[1:], None]):
        text += figure.markdown() + "\n"
        if figure.note and (after is None or after.note != figure.note):
            text += figure.note + "\n\n"
    return text.rstrip() + "\n"


def line(row, base):
    if not row.values:
        return f"| {row.name} | 0 | | | | |\n"
    show = UNITS[row.unit]
    ratio = "1" if row is base else f"{base.median / row.median:.2f}"
    least, most = show(min(row.values)), show(max(row.values))
    return f"| {row.name} | {len(row.values)} | {least} | {show(row.median)} | {most} | {ratio} |\n"


def one_line(text):
    return " ".join(text.replace("|", "/").split())[:400]
