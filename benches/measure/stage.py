"""A stage of the bench of herds: who was asked, in which state, and what came of it."""

import time
from dataclasses import dataclass, field

from .latency import Latencies
from .starts import starts
from .together import ask_together

# How long the neighbour's load has gone on before a herd comes, and the least that it lasts, in seconds.
LEAD, LEAST = 0.3, 1.0
# The engine's events may come a little after what they tell.
EVENTS = 0.2
# What is measured for comparison has nothing left to start.
TITLES = {
    "poised": "poised",
    "cold": "not poised",
    "warm": "warm, for comparison",
    "nginx": "warm, by nginx",
    "straight": "warm, past the proxy",
    "engine": "made by the Engine API",
}
COMPARED = ("warm", "nginx", "straight")


@dataclass
class Round:
    """One herd: its replies in the order of asking, and how many containers the engine started for it."""

    replies: list
    started: int

    def answered(self):
        """Gives the replies that are a 200, in the order of asking."""
        return [reply for reply in self.replies if reply.status == 200]

    def told_to_wait(self):
        return [reply for reply in self.replies if reply.status == 503 and reply.retry_after]

    def processes(self):
        """Gives how many different processes answered: each says its own name."""
        return len({(reply.app, reply.body) for reply in self.answered()})


@dataclass
class Stage:
    """Some rounds of one kind; the neighbour's latencies are of all rounds together."""

    phase: str
    apps: int
    requests: int
    rounds: list = field(default_factory=list)
    quiet: Latencies = field(default_factory=Latencies)
    during: Latencies = field(default_factory=Latencies)
    slept_quiet: Latencies = field(default_factory=Latencies)
    slept_during: Latencies = field(default_factory=Latencies)

    @property
    def title(self):
        return TITLES[self.phase]

    def ratio(self, percent=99):
        return self.during.percentile_ms(percent) / self.quiet.percentile_ms(percent)

    def slept_ratio(self, percent=99):
        return self.slept_during.percentile_ms(percent) / self.slept_quiet.percentile_ms(percent)

    @property
    def is_goal(self):
        """Whether something is promised of it: all the others are comparisons."""
        return self.phase in ("poised", "cold")

    def run(self, server, neighbour, apps, quiet_s):
        """Does one round: the neighbour alone, then the herd beside it. All of `apps`, each with the address where it is
        asked, are in the phase already."""
        each = self.requests // len(apps)
        guests = [(app, address, server.host(app)) for app, address in apps.items() for _ in range(each)]
        since, replies = self.watch(neighbour, quiet_s, lambda: herd(guests))
        time.sleep(EVENTS)
        of_server = f"func.installation={server.installation}"
        begun = starts(server.engine, since, time.time(), of_server)
        self.rounds.append(Round(replies, len(begun)))

    def watch(self, neighbour, quiet_s, act):
        """Watches the neighbour alone, then beside what `act` does. Gives when that began, in Unix seconds, and what it
        gave."""
        alone, slept_alone, _ = neighbour.watch(lambda: time.sleep(quiet_s))
        since = time.time()
        beside, slept_beside, given = neighbour.watch(act)
        self.quiet.add(alone)
        self.during.add(beside)
        self.slept_quiet.add(slept_alone)
        self.slept_during.add(slept_beside)
        return since, given


def herd(guests):
    began = time.monotonic()
    time.sleep(LEAD)
    replies = ask_together(guests)
    time.sleep(max(0.0, LEAST - (time.monotonic() - began)))
    return replies
