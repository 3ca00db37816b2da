"""A warm app of the same edge, asked at a modest constant rate: what do others notice of a herd?"""

import os
import shutil
import signal
import subprocess
import sys

from . import latency, live
from .failure import Unmeasured
from .machine import cores
from .process import Process

# The name of a site whose file server is taken for other apps.
APP = live.SITE
PAGE = "<!doctype html><title>neighbour</title><p>hello</p>\n"
FUNC_TOML = 'idle = "1h"\nfreeze = "off"\n[limits]\ncpus = {cores}.0\n'
CONNECTIONS = 2
# From an answer to the next request of the same connection.
PAUSE_MS = 2
# Longer than anything that is measured: it is ended before.
LONG_S = 300
# wrk tells nothing until all its threads have looked whether they are to end, which they do every 100 ms.
END = 10
REPORT = """
delay = function() return {pause} end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("bench %d %d %d\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
  for i = 1, #latency do
    local value, count = latency(i)
    io.write(string.format("at %d %d\\n", value, count))
  end
end
"""


class Neighbour:
    """The app, and the load on it while something is done."""

    def __init__(self, server, folder):
        self.server, self.folder, self.watches = server, folder, 0
        self.report = os.path.join(folder, "neighbour.lua")
        with open(self.report, "w", encoding="utf-8") as file:
            file.write(REPORT.format(pause=PAUSE_MS))

    def push(self):
        repository = self.server.repository(APP)
        repository.commit({"index.html": PAGE, "func.toml": FUNC_TOML.format(cores=cores())})
        repository.push()
        self.server.awake(APP)

    def watch(self, act):
        """Does `act` under the load; gives the latencies of the load, those of the sleeper, and what `act` gave.

        Raises Unmeasured if a single request of the load failed."""
        self.watches += 1
        with Watched("neighbour", self.command(), self.log("neighbour")) as load:
            with Watched("sleeper", [sys.executable, "-IB", beside("sleeper.py")], self.log("sleeper")) as sleeper:
                given = act()
                seen, slept = load.end(), sleeper.end()
        if seen.errors:
            raise Unmeasured(f"{seen.errors} of {seen.requests} requests to the warm neighbour failed")
        return seen, slept, given

    def log(self, name):
        return os.path.join(self.folder, f"{name}-{self.watches}.log")

    def command(self):
        address, port = self.server.edge
        host = self.server.host(APP)
        if not is_wrk_here():
            return [sys.executable, "-IB", beside("pulse.py"), address, str(port), host, str(CONNECTIONS), str(PAUSE_MS)]
        size = ["-t1", f"-c{CONNECTIONS}", f"-d{LONG_S}s"]
        return ["wrk", *size, "-s", self.report, "-H", f"Host: {host}", f"http://{address}:{port}/"]


class Watched:
    """A process that counts latencies until it is asked for them."""

    def __init__(self, name, command, log):
        self.name, self.process = name, Process(command, log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop(grace=1)

    def end(self):
        """Ends it, and gives what it has counted."""
        self.process.check()
        os.kill(self.process.pid, signal.SIGINT)
        try:
            self.process.child.wait(END)
        except subprocess.TimeoutExpired as error:
            raise Unmeasured(f"the {self.name} does not end") from error
        seen = latency.read(self.process.said())
        if seen is None or not seen.requests:
            raise Unmeasured(f"the {self.name} measured nothing: {self.process.said()[-500:]}")
        return seen


def beside(program):
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), program)


def is_wrk_here():
    return shutil.which("wrk") is not None
