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
TITLES = {"poised": "poised", "cold": "not poised", "warm": "warm, for comparison", "nginx": "warm, by nginx"}


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

    def run(self, server, neighbour, apps, quiet_s):
        """Does one round: the neighbour alone, then the herd beside it. All of `apps` are in the phase already."""
        alone, slept_alone, _ = neighbour.watch(lambda: time.sleep(quiet_s))
        hosts = [(app, server.host(app)) for app in apps for _ in range(self.requests // len(apps))]
        since = time.time()
        beside, slept_beside, replies = neighbour.watch(lambda: herd(server.edge, hosts))
        time.sleep(EVENTS)
        of_server = f"func.installation={server.installation}"
        begun = starts(server.engine, since, time.time(), of_server)
        self.rounds.append(Round(replies, len(begun)))
        self.quiet.add(alone)
        self.during.add(beside)
        self.slept_quiet.add(slept_alone)
        self.slept_during.add(slept_beside)


def herd(address, hosts):
    began = time.monotonic()
    time.sleep(LEAD)
    replies = ask_together(address, hosts)
    time.sleep(max(0.0, LEAST - (time.monotonic() - began)))
    return replies
