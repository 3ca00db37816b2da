"""Figure 1: a request to an app that sleeps, beside starting the same container by other hands."""

import time

from .clock import now
from .figure import Figure
from .request import get
from .twin import Twins

APP = "cold"
# After its container is gone an app is asleep as soon as the ledger knows; and the machine comes to rest.
REST = 0.4
NOTE = (
    "From the first step to the first byte of the answer; less is better. The edge's request finds no container. "
    "The peers make one of the same image with the same limits and hardening on a network of the same kind, and "
    "connect every 0.2 ms. One round after the other, each in turn first."
)


def measure(server, bench, rounds):
    """Gives the figure, in `rounds` rounds."""
    figure = Figure("cold request", NOTE)
    rows = [
        figure.row("func: a request through the edge", "ms"),
        figure.row("Engine API: create + start", "ms"),
        figure.row("`docker run`", "ms"),
    ]
    repository = server.repository(APP)
    repository.commit({"index.html": "<h1>cold</h1>\n"})
    repository.push()
    twins = Twins(server.engine, bench, APP, server.awake(APP))
    ways = [lambda: through_edge(server), twins.through_api, twins.by_command]
    # The first of each warms caches, and does not count.
    for way in ways:
        way()
    for number in range(rounds):
        server.asleep(APP)
        time.sleep(REST)
        for turn in range(len(ways)):
            which = (number + turn) % len(ways)
            rows[which].add(ways[which]() * 1000)
            time.sleep(REST)
    return figure


def through_edge(server):
    """Gives the seconds to the first byte of a request that wakes the app."""
    began = now()
    first, _ = get(server.edge, server.host(APP))
    return first - began
