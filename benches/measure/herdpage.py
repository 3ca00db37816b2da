"""docs/herd.md: what was measured of herds, and how."""

import statistics
from collections import Counter
from dataclasses import dataclass, field

from . import order
from .figure import UNITS, one_line
from .herds import START_MS
from .neighbour import CONNECTIONS, PAUSE_MS
from .stage import LEAD, LEAST

GOAL = 1.5
PROBE = f"{CONNECTIONS} kept connections, each of which asks again {PAUSE_MS} ms after its answer"
HOW = f"""## How it was measured

`make bench-herd` measures all of it in one run on one engine, and writes this page. {{sizes}}

- **Two servers**, one after the other: the first makes next starts ahead, the second has `--poised-memory 0`. Redis is
  the ledger, in a container without a network, on a unix socket. Nothing is frozen. The client, the load on the
  neighbour, func, Redis and the apps share the machine.
- **A herd** is asked on new connections, by one process. Every request has arrived but for its last byte; then those
  bytes are sent in one go, before any answer is read. The times to the first and the last answer are from the first of
  these bytes, those of the crowd's requests are from each one's own, all to the first byte of the answer.
- **One app**: a static file whose content is made up when its process starts, and so tells how many processes
  answered. It listens {START_MS} ms after its start, so that all have asked before it can answer; that is in the times.
- **Many apps**: as many static hellos, each asked once. The order in which they were answered is compared with the
  order in which they were asked: Spearman's rank correlation (1: the same order, 0: any), and by how many places
  somebody came earlier or later, at most. All are asked within a few ms, so that neighbours in the order may swap.
- **Started** is how many containers the engine says it started meanwhile. **The way** is what `Server-Timing` says.
- **The neighbour** is another warm app of the same edge, a static page asked by {{probe}}:
  {PROBE}. Quiet is before each, about as long.
  During is from {LEAD} s before its first connection to its last answer, {LEAST:.0f} s at least. What was held up
  counts also for the requests that would have been sent meanwhile.
- **A sleeper** is a process (of high priority, where the bench runs as root) that does nothing but sleep for half a millisecond again and again: what
  it notices is what the kernel and the machine below it do to everybody, whatever a proxy does.
- **Warm, for comparison**: the same herd once more, with nothing left to start. What it does to the neighbour is the
  cost of so many requests at once, on a machine with so few cores.
- **By nginx**: the same herd at the same warm containers, and the same load on the neighbour, through an nginx with as
  many workers as cores that keeps connections: what a proxy that starts nothing does to the neighbour.
- **Past the proxy**: the same herd at the addresses of the same warm containers, so that the edge has nothing to do but
  to serve the neighbour: what the client and the apps of a herd do to it, on a machine that they share.
- **Made by the Engine API**: as many containers like the crowd's, created and started one after the other by the bench;
  nothing but the neighbour is asked of func.
"""


@dataclass
class Page:
    """What a run has found out so far."""

    facts: list
    sizes: str
    probe: str
    stages: list = field(default_factory=list)
    failures: list = field(default_factory=list)

    def markdown(self):
        herds = [s for s in self.stages if s.apps == 1]
        crowds = [s for s in self.stages if s.apps > 1 and s.rounds]
        parts = ["# Herds: many requests at once", "\n".join(self.facts)]
        parts += [f"**Not measured:** {one_line(text)}" for text in self.failures]
        parts += ["## Goals", goals(self.stages)]
        parts += ["## Many requests to one app", table(HERD_COLUMNS, herds)]
        parts += ["## Many apps, one request each", table(CROWD_COLUMNS, crowds)]
        parts += ["## A warm neighbour", table(NEIGHBOUR_COLUMNS, self.stages)]
        parts.append(HOW.format(sizes=self.sizes, probe=self.probe))
        return "\n\n".join(part.strip() for part in parts) + "\n"


def goals(stages):
    """One line for each promise and each stage that is no comparison."""
    lines = ["| goal | measured | met |", "|---|--:|---|"]
    for stage in (s for s in stages if s.is_goal):
        for goal, seen, met in held(stage):
            lines.append(f"| {name(stage)}: {goal} | {seen} | {'yes' if met else '**no**'} |")
    return "\n".join(lines) if len(lines) > 2 else "Nothing was measured."


def held(stage):
    answered = sum(len(each.answered()) for each in stage.rounds)
    asked = sum(len(each.replies) for each in stage.rounds)
    if stage.apps == 1:
        yield "every request is answered", f"{answered} of {asked}", answered == asked
        processes = [each.processes() for each in stage.rounds]
        yield "by one process", told(processes), set(processes) == {1}
        started, wanted = [each.started for each in stage.rounds], 0 if stage.phase == "poised" else 1
        yield f"{wanted} more containers are started", told(started), set(started) == {wanted}
    else:
        ended = answered + sum(len(each.told_to_wait()) for each in stage.rounds)
        yield "answered, or 503 with Retry-After", f"{ended} of {asked}", ended == asked
    ratio = stage.ratio()
    yield f"the neighbour's p99 is within {GOAL} × quiet", f"{ratio:.2f}", ratio <= GOAL


def name(stage):
    apps = f"{plural(stage.apps, 'app')} {stage.title}"
    return f"{apps}, {plural(stage.requests, 'request')}" if stage.rounds else apps


def plural(number, word):
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def told(values):
    """Gives what was seen in the rounds, once if it was always the same."""
    return " / ".join(str(value) for value in (values if len(set(values)) > 1 else values[:1]))


def ms(values):
    """Gives the median of some seconds as ms, with the range if there are several."""
    if not values:
        return "–"
    show = UNITS["ms"]
    middle = show(statistics.median(values) * 1000)
    return middle if len(values) == 1 else f"{middle} ({show(min(values) * 1000)} to {show(max(values) * 1000)})"


def others(stage):
    """Gives what was answered besides 200, and besides 503 with Retry-After."""
    told_apart = Counter()
    for each in stage.rounds:
        for reply in each.replies:
            if reply.status != 200 and not (reply.status == 503 and reply.retry_after):
                told_apart["broken" if not reply.status else str(reply.status)] += 1
    return ", ".join(f"{number} × {status}" for status, number in sorted(told_apart.items())) or "0"


def ways(stage):
    seen = Counter(reply.way or "warm" for each in stage.rounds for reply in each.answered())
    return ", ".join(f"{number:,} {way}" for way, number in seen.most_common())


def per_round(count):
    return lambda stage: told([count(each) for each in stage.rounds])


def of_rounds(measure):
    """Gives a column of seconds: one figure for each round that has an answer."""
    return lambda stage: ms([measure(each.answered()) for each in stage.rounds if each.answered()])


def of_order(measure, show):
    return lambda stage: told([show(measure(order.ranks(each.answered()))) for each in stage.rounds])


def quantile(share):
    return lambda replies: sorted(reply.took for reply in replies)[round(share * (len(replies) - 1))]


ANSWERED = {
    "200": per_round(lambda each: len(each.answered())),
    "503 with Retry-After": per_round(lambda each: len(each.told_to_wait())),
    "others": others,
}
HERD_COLUMNS = {
    "rounds": lambda stage: str(len(stage.rounds)),
    **ANSWERED,
    "processes": per_round(lambda each: each.processes()),
    "started": per_round(lambda each: each.started),
    "all sent within": lambda stage: ms([max(reply.sent for reply in each.replies) for each in stage.rounds]),
    "first answer": of_rounds(lambda replies: min(reply.first for reply in replies)),
    "last answer": of_rounds(lambda replies: max(reply.first for reply in replies)),
    "way": ways,
}
CROWD_COLUMNS = {
    **ANSWERED,
    "started": per_round(lambda each: each.started),
    "min": of_rounds(quantile(0.0)),
    "median": of_rounds(quantile(0.5)),
    "p90": of_rounds(quantile(0.9)),
    "max": of_rounds(quantile(1.0)),
    "rank correlation": of_order(order.correlation, lambda value: f"{value:.2f}"),
    "places moved, at most": of_order(order.displacement, str),
    "way": ways,
}


def watched(which, percent):
    return lambda stage: UNITS["ms"](getattr(stage, which).percentile_ms(percent))


NEIGHBOUR_COLUMNS = {
    "requests quiet": lambda stage: f"{stage.quiet.requests:,}",
    "during": lambda stage: f"{stage.during.requests:,}",
    "p50 quiet": watched("quiet", 50),
    "p50 during": watched("during", 50),
    "p99 quiet": watched("quiet", 99),
    "p99 during": watched("during", 99),
    "p99 ÷ quiet": lambda stage: f"{stage.ratio():.2f}",
    "a sleeper's p99 quiet": watched("slept_quiet", 99),
    "a sleeper's p99 during": watched("slept_during", 99),
    "a sleeper's p99 ÷ quiet": lambda stage: f"{stage.slept_ratio():.2f}",
}


def table(columns, stages):
    if not stages:
        return "Not measured."
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    for stage in stages:
        lines.append(f"| {name(stage)} | " + " | ".join(show(stage) for show in columns.values()) + " |")
    return "\n".join(lines)
