"""A container like func's own, started by other hands: the same image, command, limits and hardening."""

from .clock import now
from .engine import docker
from .request import get

LABEL = "func.bench"


class Twins:
    """Makes twins of one container, on a network of the same kind as its own."""

    def __init__(self, engine, bench, part, model):
        """`model` is the container as the engine describes it; what is made is named after the bench and its part."""
        self.engine, self.bench, self.name = engine, bench, f"{bench}-{part}"
        config, host = model["Config"], dict(model["HostConfig"])
        network = host["NetworkMode"]
        host["NetworkMode"] = self.name
        keep = ("Image", "Env", "Hostname", "Cmd", "Entrypoint", "Healthcheck", "User", "WorkingDir")
        self.body = {key: config[key] for key in keep if config.get(key)}
        self.body |= {"Labels": {LABEL: bench}, "HostConfig": host}
        self.port = int(model["Config"]["Labels"]["func.port"])
        self.made = None
        engine.make_network_like(self.name, {LABEL: bench}, network)

    def through_api(self):
        """Creates and starts a twin; gives the seconds to the first byte that it answers."""
        began = now()
        container = self.engine.create(f"{self.name}-api", self.body)
        try:
            self.engine.start(container)
            first, _ = get((self.engine.address(container, self.name), self.port))
        finally:
            self.engine.remove(container)
        return first - began

    def make(self, number):
        """Creates and starts so many twins, one after the other; gives their ids."""
        made = []
        for turn in range(number):
            made.append(self.engine.create(f"{self.name}-{turn}", self.body))
            self.engine.start(made[-1])
        return made

    def by_command(self, image=None):
        """`through_api` by `docker run`."""
        arguments = self.arguments(image)
        began = now()
        try:
            container = docker("run", *arguments)
            first, _ = get((self.engine.address(container, self.name), self.port))
        finally:
            self.engine.remove(f"{self.name}-run")
        return first - began

    def make_stopped(self):
        """Makes a twin for `by_start`, lets it run once, and kills it."""
        self.made = self.engine.create(f"{self.name}-stopped", self.body)
        self.by_start()

    def by_start(self):
        """`docker start` of the stopped twin; it is stopped again after its first byte."""
        began = now()
        docker("start", self.made)
        first, _ = get((self.engine.address(self.made, self.name), self.port))
        self.engine.kill(self.made)
        return first - began

    def arguments(self, image):
        """Gives what `docker run` is told for the same container; another image brings its own command."""
        host = self.body["HostConfig"]
        options = [
            "--detach",
            f"--name={self.name}-run",
            f"--network={self.name}",
            f"--label={LABEL}={self.bench}",
            f"--hostname={self.body['Hostname']}",
            f"--memory={host['Memory']}",
            f"--memory-swap={host['MemorySwap']}",
            f"--cpus={host['NanoCpus'] / 1e9}",
            f"--pids-limit={host['PidsLimit']}",
            f"--ipc={host['IpcMode']}",
            f"--log-driver={host['LogConfig']['Type']}",
            "--no-healthcheck",
        ]
        options += [f"--cap-drop={capability}" for capability in host["CapDrop"] or []]
        options += [f"--security-opt={option}" for option in host["SecurityOpt"] or []]
        options += [f"--log-opt={name}={value}" for name, value in host["LogConfig"]["Config"].items()]
        options += [f"--ulimit={u['Name']}={u['Soft']}:{u['Hard']}" for u in host["Ulimits"] or []]
        options += [f"--env={variable}" for variable in self.body["Env"]]
        return [*options, image or self.body["Image"]]
