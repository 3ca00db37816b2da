"""The ways to wake an app, each from the decision to the first byte, and the rounds in which they are measured."""

import time
from collections import Counter
from dataclasses import dataclass, field

from . import timing
from .clock import now
from .figure import Row
from .host import HostProgram
from .phases import Phases
from .request import ask
from .server import Server
from .twin import Twins

RUN, API, START, POISED, COLD, FROZEN, WARM, HOST = "abcdefgh"
TITLES = {
    RUN: "`docker run`, by the command line",
    API: "create + start, by the Engine API",
    START: "`docker start` of a stopped container",
    POISED: "func, poised",
    COLD: "func, cold and not poised",
    FROZEN: "func, frozen",
    WARM: "func, warm",
    HOST: "the same program on the bare host",
}
# What the edge says a request of each way was; it says nothing of one that waited for no start.
SAID = {POISED: "poised", COLD: "made", FROZEN: "resumed", WARM: ""}
# Between two measurements: what the engine tidies up after the one does not run into the next.
PAUSE = 0.15


@dataclass
class Place:
    """One server, and what its cleaner says."""

    server: Server
    phases: Phases

    def ask(self, app):
        """Asks an app; gives the seconds from before the connection to the first byte, and what the edge says."""
        began = now()
        answer = ask(self.server.edge, self.server.host(app))
        took = answer.first - began
        return took, *timing.read(answer.header("server-timing"))


@dataclass
class Subject:
    """One app at both servers, and its twins. At the first one it is poised and frozen, at the plain one neither."""

    app: str
    plain_app: str
    twins: Twins
    host: HostProgram | None
    samples: "Samples"


@dataclass(eq=False)
class Samples:
    """What was measured of one kind of app, on one machine, with one number of apps."""

    kind: str
    title: str
    apps: int
    loaded: bool
    rows: dict = field(default_factory=dict)
    parts: dict = field(default_factory=dict)
    own: Row = field(default_factory=lambda: Row("func's own share of a poised start", "ms"))
    successor: Row = field(default_factory=lambda: Row("from a stop until the successor is poised", "ms"))
    strays: Counter = field(default_factory=Counter)

    def __post_init__(self):
        self.rows = {way: Row(title, "ms") for way, title in TITLES.items()}

    @property
    def machine(self):
        return "under load" if self.loaded else "idle"

    def add(self, way, seconds):
        self.rows[way].add(seconds * 1000)

    def add_answer(self, way, took, said, parts):
        """Adds a request through the edge, unless it turned out to have gone another way."""
        if said != SAID[way]:
            self.strays[f"{way}: {said or 'warm'}"] += 1
            return
        self.add(way, took)
        if way == POISED:
            for name in timing.PARTS:
                self.parts.setdefault(name, Row(name, "ms")).add(parts.get(name, 0.0))
            self.own.add(sum(parts.get(name, 0.0) for name in timing.OWN))

    def median(self, way):
        """Gives the median in ms; None if nothing was measured."""
        return self.rows[way].median if self.rows[way].values else None


def rounds(place, plain, subjects, number):
    """Measures every way of every subject `number` times."""
    for subject in subjects:
        place.phases.rest(subject.app, "poised")
        plain.phases.rest(subject.plain_app, "cold")
    time.sleep(PAUSE)
    for turn in range(number):
        shift = turn % len(subjects)
        one_round(place, plain, subjects[shift:] + subjects[:shift], turn)


def one_round(place, plain, subjects, turn):
    """A poised app is woken and asked again; while it is on its way to being frozen, the others have their turns."""
    for subject in subjects:
        for way in (POISED, WARM):
            subject.samples.add_answer(way, *place.ask(subject.app))
            time.sleep(PAUSE)
    for subject in subjects:
        others = peers(plain, subject)
        shift = turn % len(others)
        for measure in others[shift:] + others[:shift]:
            measure()
            time.sleep(PAUSE)
    for subject in subjects:
        place.phases.reach("frozen", subject.app)
        time.sleep(PAUSE)
        subject.samples.add_answer(FROZEN, *place.ask(subject.app))
    for subject in subjects:
        plain.phases.rest(subject.plain_app, "cold")
        subject.samples.successor.values += successor(place, subject.app)
        time.sleep(PAUSE)


def peers(plain, subject):
    samples, twins = subject.samples, subject.twins
    measures = [
        lambda: samples.add(RUN, twins.by_command()),
        lambda: samples.add(API, twins.through_api()),
        lambda: samples.add(START, twins.by_start()),
        lambda: samples.add_answer(COLD, *plain.ask(subject.plain_app)),
    ]
    if subject.host:
        measures.append(lambda: samples.add(HOST, subject.host.start()))
    return measures


def successor(place, app):
    """Brings a warm app to rest; gives the ms from the end of its container until the next one is poised, in a list
    that is empty if the engine does not say when that was."""
    began = time.time()
    poised = place.phases.rest(app, "poised")
    labels = (f"func.installation={place.server.installation}", f"func.app={app}")
    deaths = [at for at in place.server.engine.deaths(began, poised, *labels) if at <= poised]
    return [(poised - max(deaths)) * 1000] if deaths else []
