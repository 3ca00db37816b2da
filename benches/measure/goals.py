"""The goals of waking, by the medians of an idle machine with one app of each kind."""

from dataclasses import dataclass

from .ways import API, COLD, FROZEN, HOST, POISED


@dataclass
class Goal:
    """`measured` is None if it was not."""

    what: str
    most: float
    unit: str
    measured: float | None

    @property
    def verdict(self):
        if self.measured is None:
            return "not measured"
        return "ok" if self.measured <= self.most else "missed"

    def show(self, value):
        if value is None:
            return ""
        return f"{value:.2f} ms" if self.unit == "ms" else f"{value:.3f}"


def goals(all_samples):
    """Gives every goal, with what was measured of it."""
    found = []
    for samples in all_samples:
        if samples.loaded or samples.apps != 1:
            continue
        title = samples.title
        if samples.kind == "hello":
            found.append(ratio(f"{title}: poised ÷ Engine API", 0.03, samples, POISED))
        if samples.kind == "python":
            more = difference(samples.median(POISED), samples.median(HOST))
            found.append(Goal(f"{title}: poised, more than the interpreter's own start on the host", 5, "ms", more))
        found.append(ratio(f"{title}: cold and not poised ÷ Engine API", 1.05, samples, COLD))
        found.append(ratio(f"{title}: frozen ÷ Engine API", 0.06, samples, FROZEN))
        own = samples.own.median if samples.own.values else None
        found.append(Goal(f"{title}: func's own share of a poised start", 2, "ms", own))
    return found


def ratio(what, most, samples, way):
    ours, theirs = samples.median(way), samples.median(API)
    return Goal(what, most, "ratio", None if ours is None or theirs is None else ours / theirs)


def difference(one, other):
    return None if one is None or other is None else one - other


def table(found):
    text = "| goal | at most | measured | |\n|---|--:|--:|---|\n"
    for goal in found:
        text += f"| {goal.what} | {goal.show(goal.most)} | {goal.show(goal.measured)} | {goal.verdict} |\n"
    return text
