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
        """Does `act` under the load; gives the latencies, and what it gave.

        Raises Unmeasured if a single request of the load failed."""
        self.watches += 1
        log = os.path.join(self.folder, f"neighbour-{self.watches}.log")
        load = Process(self.command(), log)
        try:
            given = act()
            load.check()
            os.kill(load.pid, signal.SIGINT)
            load.child.wait(END)
        except subprocess.TimeoutExpired as error:
            raise Unmeasured(f"{load.name} does not end") from error
        finally:
            load.stop(grace=1)
        seen = latency.read(load.said())
        if seen is None or not seen.requests:
            raise Unmeasured(f"{load.name} measured nothing: {load.said()[-500:]}")
        if seen.errors:
            raise Unmeasured(f"{seen.errors} of {seen.requests} requests to the warm neighbour failed")
        return seen, given

    def command(self):
        address, port = self.server.edge
        host = self.server.host(APP)
        if not is_wrk_here():
            pulse = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pulse.py")
            return [sys.executable, "-IB", pulse, address, str(port), host, str(CONNECTIONS), str(PAUSE_MS)]
        size = ["-t1", f"-c{CONNECTIONS}", f"-d{LONG_S}s"]
        return ["wrk", *size, "-s", self.report, "-H", f"Host: {host}", f"http://{address}:{port}/"]


def is_wrk_here():
    return shutil.which("wrk") is not None
