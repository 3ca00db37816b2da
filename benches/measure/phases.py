"""What the cleaner of a running func says about its apps, and the wish that one of them comes to rest."""

import http.client
import json
import os
import time

from .clock import now, until
from .engine import UnixConnection
from .failure import Unmeasured

# How often the phase is looked at while it is waited for, in seconds: finer than a stop or a start.
LOOK = 0.004
# An app that was just used is leased for 2 s more: how often it is asked to rest, in seconds.
ASK = 0.2
LIMIT = 60


class Phases:
    """The apps of one server, by their phases."""

    def __init__(self, server):
        self.path = os.path.join(server.data, "run/cleaner.sock")

    def call(self, method, path):
        connection = UnixConnection(self.path)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unmeasured(f"the cleaner does not answer {method} {path}: {error}") from error
        finally:
            connection.close()

    def all(self):
        status, answer = self.call("GET", "/apps")
        if status != 200:
            raise Unmeasured(f"the cleaner does not know its apps: {status} {answer[:300]!r}")
        return {app["app"]: app["phase"] for app in json.loads(answer)}

    def reach(self, phase, *apps):
        """Waits until all of these apps are in a phase."""
        what = f"{apps[0]} is {phase}" if len(apps) == 1 else f"{len(apps)} apps are {phase}"
        until(what, lambda: self.in_phase(phase, apps), LIMIT + len(apps), every=0.02)

    def in_phase(self, phase, apps):
        phases = self.all()
        return all(phases.get(app) == phase for app in apps)

    def rest(self, app, phase):
        """Brings an app to rest; gives the Unix time at which it was seen in `phase`: poised or cold."""
        end, ask_at = now() + LIMIT, 0.0
        while True:
            seen = self.all().get(app)
            at = time.time()
            if seen == phase:
                return at
            if now() > end:
                raise Unmeasured(f"{app} did not become {phase} within {LIMIT} s, it is {seen}")
            if seen in ("warm", "frozen") and now() >= ask_at:
                self.ask_to_rest(app)
                ask_at = now() + ASK
            time.sleep(LOOK)

    def ask_to_rest(self, app):
        """Asks once. One that is still leased, or is just being paused, stays as it is."""
        status, answer = self.call("POST", f"/apps/{app}/rest")
        if status in (404, 405):
            raise Unmeasured(f"this func cannot bring {app} to rest: {status} {answer[:200]!r}")
