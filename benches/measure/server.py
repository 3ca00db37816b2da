"""The func under test: `func serve all` with a data folder of its own, and what it put on the engine."""

import hashlib
import json
import os

from .clock import until
from .process import Process
from .repository import Repository
from .request import get


def installation(data):
    """Gives the name under which a func with this data folder is known to the engine.

    Source: shared/store/src/disk.rs."""
    return "func-" + hashlib.sha256(os.path.realpath(data).encode()).hexdigest()[:6]


def remove_from_engine(engine, data):
    name = installation(data)
    engine.remove_all(f"func.installation={name}", name)


class Server:
    """A running func."""

    def __init__(self, program, folder, engine, *options):
        """`options` are what it is told besides: `--redis=...`."""
        self.program, self.folder, self.engine, self.options = program, folder, engine, options
        self.data = os.path.join(folder, "data")
        os.makedirs(self.data)
        self.installation = installation(self.data)
        self.token, self.process = "", None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        remove_from_engine(self.engine, self.data)

    def start(self):
        """Starts it, with the ledger in memory unless it is told otherwise, and waits until it is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FUNC_")}
        doors = [f"--{door}-listen=127.0.0.1:0" for door in ("edge", "ssh", "http")]
        engine = f"--docker={self.engine.path}"
        command = [self.program, "serve", "all", "--data", self.data, "--idle", "5s", engine, *doors, *self.options]
        log = os.path.join(self.folder, "server.log")
        before = os.path.getsize(log) if os.path.exists(log) else 0
        self.process = Process(command, log, environment)
        until("func is ready", lambda: self.process.check() or "func is ready" in self.process.said()[before:])
        self.token = self.new_token()
        with open(os.path.join(self.data, "run/githost/server.json"), encoding="utf-8") as info:
            self.info = json.load(info)

    def new_token(self):
        """Gives the token of a new installation: from its file, or from the log of a func that had none."""
        path = os.path.join(self.data, "keys/token")
        if not os.path.exists(path):
            return self.process.said().partition("shown only now: ")[2].split()[0]
        with open(path, encoding="utf-8") as token:
            return token.read().strip()

    def stop(self):
        if self.process:
            self.process.stop()

    @property
    def pid(self):
        return self.process.pid

    @property
    def edge(self):
        return ("127.0.0.1", int(self.info["url"].rsplit(":", 1)[1]))

    def host(self, app):
        return f"{app}.{self.info['domain']}"

    def repository(self, app):
        """Makes an app's repository, whose push goes to this server."""
        return Repository(os.path.join(self.folder, "apps", app), self.url(app))

    def url(self, app):
        """Gives where an app is pushed to."""
        return self.info["http"].replace("http://", f"http://func:{self.token}@") + f"/{app}.git"

    def containers(self, *apps):
        """Gives the ids of all instances, or of an app's."""
        of_apps = [f"func.app={app}" for app in apps]
        return self.engine.containers("func.instance", f"func.installation={self.installation}", *of_apps)

    def awake(self, app):
        """Wakes an app, and gives its container as the engine describes it."""
        get(self.edge, self.host(app))
        found = until(f"{app} runs", lambda: self.containers(app))
        return self.engine.container(found[0])

    def address(self, container):
        """Gives where a container answers, as the engine describes it."""
        network = container["NetworkSettings"]["Networks"][self.installation]
        return (network["IPAddress"], int(container["Config"]["Labels"]["func.port"]))

    def asleep(self, *apps):
        """Waits until an app's containers are gone, or all."""
        until("the apps sleep", lambda: not self.containers(*apps), limit=90, every=0.1)
