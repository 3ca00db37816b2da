"""docs/benchmarks.md: what was measured of waking, and how."""

from dataclasses import dataclass, field

from . import goals
from .figure import UNITS, one_line
from .ways import API, COLD, FROZEN, HOST, POISED, RUN, START, TITLES, WARM

SHORT = {
    RUN: "(a) `docker run`",
    API: "(b) Engine API",
    START: "(c) `docker start`",
    POISED: "(d) poised",
    COLD: "(e) not poised",
    FROZEN: "(f) frozen",
    WARM: "(g) warm",
    HOST: "bare host",
}
HOW = """## How it was measured

`make bench-wake` measures all of it in one run on one engine, and writes this page. {sizes}

- **The time** is from the first step to the first byte of the answer. For func that is the whole HTTP request through
  the edge, from before a new connection to it, from Python's sockets; Redis is the ledger, in a container without a
  network, on a unix socket. For the peers it is from the first call or command; they connect every 0.2 ms.
- **(a) to (c)** are containers of the same image with the same limits and hardening as func's own, on a network of the
  same kind (a bridge without traffic between containers). (b) uses one kept connection to the engine. (c) is killed
  after each turn.
- **(d), (f), (g)** are one app at one server: `freeze = "3s"`, asked while it is poised, asked again while it is warm,
  left alone until it is frozen, asked again, brought to rest, and poised anew before the next round. **(e)** is the
  same app at a second server with `--poised-memory 0`. What `Server-Timing` says decides whether a request went the way
  that it is counted for.
- **Rounds**: each kind's ways take turns within a round, and begin with another one in the next.
- **Under load**: a busy loop at normal priority for each core, beside everything.
- **1 app**: one of each kind, at rest but for the measured one. **10 and 100 apps**: so many static ones are at the
  first server, poised but for the measured three, which are others in each round; the second server has five.
- **The bare host**: the same files, started with the host's own program, from before `exec`; not in a container, and
  without limits.
- **Memory** is the PSS of containerd's shim and of every process in the container, from /proc/*/smaps_rollup: what
  processes share is shared out among them. What the engine itself uses for a container is not in it.
- **The successor**: from the end of the container, as the engine's events tell it, until the cleaner says that the app
  is poised.
"""


@dataclass
class Report:
    """What a run has found out so far."""

    facts: list
    sizes: str
    samples: list = field(default_factory=list)
    host_titles: dict = field(default_factory=dict)
    memory: list = field(default_factory=list)
    failures: list = field(default_factory=list)

    def markdown(self, plot):
        """Gives the page; `plot` is the path of the picture from it, empty for none."""
        measured = [s for s in self.samples if any(row.values for row in s.rows.values())]
        parts = ["# Waking: how long a request takes", "\n".join(self.facts)]
        if self.failures:
            parts.append("\n".join(f"**Not measured:** {one_line(text)}" for text in self.failures))
        parts += ["## Goals", "Medians of the idle machine with one app of each kind."]
        parts.append(goals.table(goals.goals(measured)))
        if plot:
            parts.append(f"![Medians and ranges of every way]({plot})")
        parts += ["## Medians", overview(measured), *map(full, measured), "## Func's own share of a poised start"]
        parts += [shares(measured), "## From a stop until the successor is poised"]
        parts.append(rows_table([(place(s), s.successor) for s in measured]))
        parts += ["## Memory of a container", rows_table([(row.name, row) for row in self.memory])]
        parts += [HOW.format(sizes=self.sizes), self.remarks(measured)]
        return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"

    def remarks(self, measured):
        lines = [f"- The bare host's {kind}: {title}." for kind, title in self.host_titles.items()]
        for samples in measured:
            if samples.strays:
                told = ", ".join(f"{number} × ({way})" for way, number in sorted(samples.strays.items()))
                lines.append(f"- {place(samples)}: not counted, because they went another way: {told}.")
        return "\n".join(lines)


def place(samples):
    apps = "1 app of each kind" if samples.apps == 1 else f"{samples.apps} apps"
    return f"{samples.title}, {samples.machine}, {apps}"


def name(way):
    return TITLES[way] if way == HOST else f"({way}) {TITLES[way]}"


def overview(measured):
    """One column for each way, one line for everything else; medians."""
    ways = [way for way in TITLES if any(s.rows[way].values for s in measured)]
    heads = " | ".join(SHORT[way] for way in ways)
    text = f"| median | {heads} |\n|---|" + "--:|" * len(ways) + "\n"
    for samples in measured:
        medians = (samples.median(way) for way in ways)
        text += f"| {place(samples)} | " + " | ".join("" if m is None else UNITS["ms"](m) for m in medians) + " |\n"
    return text


def full(samples):
    text = f"| {place(samples)} | n | min | median | max | ÷ (b) |\n|---|--:|--:|--:|--:|--:|\n"
    base = samples.median(API)
    for way, row in samples.rows.items():
        if row.values:
            ratio = f"{row.median / base:.3f}" if base else ""
            text += f"| {name(way)} | {numbers(row)} | {ratio} |\n"
    return text


def shares(measured):
    """The parts of a poised start, medians in ms."""
    with_parts = [s for s in measured if s.parts]
    if not with_parts:
        return "Not measured."
    names = list(with_parts[0].parts)
    text = "From `Server-Timing`, medians in ms. Own: queue, claim, gate and commit of each request, added up.\n\n"
    text += "| | n | " + " | ".join(names) + " | own: min | own: median | own: max |\n"
    text += "|---|--:|" + "--:|" * (len(names) + 3) + "\n"
    for samples in with_parts:
        own = samples.own
        medians = " | ".join(f"{samples.parts[part].median:.2f}" for part in names)
        told = f"{min(own.values):.2f} | {own.median:.2f} | {max(own.values):.2f}"
        text += f"| {place(samples)} | {len(own.values)} | {medians} | {told} |\n"
    return text


def rows_table(named):
    lines = [f"| {title} | {numbers(row)} |" for title, row in named if row.values]
    if not lines:
        return "Not measured."
    return "\n".join(["| | n | min | median | max |", "|---|--:|--:|--:|--:|", *lines])


def numbers(row):
    show = UNITS[row.unit]
    return f"{len(row.values)} | {show(min(row.values))} | {show(row.median)} | {show(max(row.values))}"
