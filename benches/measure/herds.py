"""The herds at one server: a thousand requests to one app, and a hundred apps at once."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from . import live
from .clock import now
from .engine import docker
from .failure import Unmeasured
from .kind import kinds
from .neighbour import APP as NEIGHBOUR
from .neighbour import Neighbour
from .nginx import Nginx
from .stage import COMPARED, LEAST, Stage
from .twin import Twins

HERD, CROWD = "herd", "crowd"
TOML = 'idle = "10m"\nfreeze = "off"\n'
# The app of the thousand says which process it is. It listens 100 ms after its start: all have asked by then.
START_MS = 100
ENTRY = f"""#!/bin/sh
sleep {START_MS / 1000}
mkdir /tmp/site
cat /proc/sys/kernel/random/uuid >/tmp/site/index.html
exec /func-static /tmp/site
"""
DOCKERFILE = 'FROM busybox:stable\nCOPY func-static entry /\nUSER 65534\nENTRYPOINT ["/bin/sh", "/entry"]\n'
# As many builds run at once; and as many apps are sent to rest or woken at once.
PUSHES, MOVES = 2, 4
# How long after the first push a further round of one app may begin: the crowd has to come to rest as well.
ROUNDS_S = 85
# How long a crowd may take to come to rest, for each app, and how often those that do not rest are asked to.
REST_S, ASK_S = 3, 0.3
# After the last of them has come to rest, the machine does as well.
SETTLE = 1.0


def side_by_side(workers, act, things):
    """Does `act` to each of some things, a few at a time; what has not begun when one fails is not begun."""
    pool = ThreadPoolExecutor(workers)
    try:
        list(pool.map(act, things))
    finally:
        pool.shutdown(cancel_futures=True)


class Front:
    """Something else in front of a server's containers."""

    def __init__(self, edge, server):
        self.edge, self.host = edge, server.host
        self.engine, self.installation = server.engine, server.installation


class Herds:
    """Apps at one server, all of them at rest in the phase `at_rest`: poised or cold."""

    def __init__(self, place, neighbour, at_rest, bench):
        self.place, self.neighbour, self.at_rest, self.bench = place, neighbour, at_rest, bench
        self.server = place.server
        self.crowd, self.began, self.fronts = [], now(), 0

    def push(self, apps):
        """Pushes the app of the thousand, and the crowd: `apps` static sites, two at a time."""
        repository = self.server.repository(HERD)
        program = live.static_server(self.server)
        repository.commit({"Dockerfile": DOCKERFILE, "func-static": program, "entry": ENTRY, "func.toml": TOML})
        repository.push()
        self.crowd = [f"{CROWD}-{number}" for number in range(1, apps + 1)]
        site = self.server.repository(CROWD)
        site.commit(kinds()[0].files | {"func.toml": TOML})
        side_by_side(PUSHES, lambda app: site.push(self.server.url(app)), self.crowd)

    def one_app(self, requests, rounds):
        """Gives the stages of one app at rest, and of the same app warm, in turn: as many rounds as there is time for,
        one at least."""
        stages = [Stage(phase, 1, requests) for phase in (self.at_rest, *COMPARED)]
        for done in range(rounds):
            if done and now() - self.began > ROUNDS_S:
                break
            for stage in stages:
                self.run(stage, [HERD], LEAST)
        return stages

    def run(self, stage, apps, seconds):
        """Does one round of a stage when all of its apps are in its phase."""
        self.reach("warm" if stage.phase in COMPARED else stage.phase, apps)
        if stage.phase in ("warm", self.at_rest):
            return stage.run(self.server, self.neighbour, dict.fromkeys(apps, self.server.edge), seconds)
        behind = {app: self.server.address(self.server.awake(app)) for app in [NEIGHBOUR, *apps]}
        if stage.phase == "straight":
            del behind[NEIGHBOUR]
            return stage.run(self.server, self.neighbour, behind, seconds)
        self.fronts += 1
        folder = os.path.join(self.neighbour.folder, f"nginx-{self.fronts}")
        with Nginx(folder, [(self.server.host(app), address) for app, address in behind.items()]) as nginx:
            front = Front(nginx.address, self.server)
            return stage.run(front, Neighbour(front, folder), dict.fromkeys(apps, front.edge), seconds)

    def many_apps(self):
        """Gives the stages of the crowd at rest, of the crowd warm, and, for what is not poised, of others who make as many
        containers."""
        # About as long as the herd: what is not poised is made, a few at a time.
        quiet_s = LEAST + (len(self.crowd) / 10 if self.at_rest == "cold" else 0)
        stages = []
        for phase in (self.at_rest, *COMPARED):
            stages.append(Stage(phase, len(self.crowd), len(self.crowd)))
            self.run(stages[-1], self.crowd, quiet_s if phase == self.at_rest else LEAST)
        if self.at_rest == "cold":
            stages.append(self.by_engine(quiet_s))
        return stages

    def by_engine(self, quiet_s):
        """Gives the stage of as many containers that the engine makes without func."""
        stage = Stage("engine", len(self.crowd), len(self.crowd))
        twins = Twins(self.server.engine, self.bench, CROWD, self.server.awake(self.crowd[0]))
        _, made = stage.watch(self.neighbour, quiet_s, lambda: twins.make(len(self.crowd)))
        docker("rm", "-f", "-v", *made)
        return stage

    def remove(self):
        """Ends the server, and removes its containers side by side: there are many."""
        self.server.stop()
        # The server's own end removes what is left, one after the other.
        with suppress(Unmeasured):
            docker("rm", "-f", "-v", *self.server.containers())

    def reach(self, phase, apps):
        """Waits until all of these apps are in a phase; those that are to rest are asked to, until they do."""
        end = now() + 60 + REST_S * len(apps)
        while True:
            phases = self.place.phases.all()
            others = [app for app in apps if phases.get(app) != phase]
            if not others:
                break
            if now() > end:
                raise Unmeasured(f"{len(others)} of {len(apps)} apps did not become {phase}: {others[0]} is not")
            side_by_side(MOVES, lambda app: self.move(app, phases.get(app), phase), others)
            time.sleep(ASK_S)
        time.sleep(SETTLE)

    def move(self, app, seen, phase):
        if phase == "warm" and seen in ("cold", "poised"):
            self.place.ask(app)
        elif phase != "warm" and seen == "warm":
            self.place.phases.ask_to_rest(app)
