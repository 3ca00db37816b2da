"""The Docker Engine: its API over its socket, and its command line."""

import contextlib
import glob
import http.client
import json
import os
import socket
import subprocess
import urllib.parse

from .failure import Unmeasured

# The machine's engine, unless DOCKER_HOST names another, as benches/own-engine does.
SOCKET = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
# The oldest engine that func's own compose file is tried with (20.10) speaks this; newer ones still do.
API = "/v1.41"
# How long one call may take, in seconds: more than any create, start or remove needs.
CALL = 60


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=CALL)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    """One engine, over one kept connection, as a program that uses it every day would."""

    def __init__(self, path=SOCKET):
        self.path = path
        self.connection = UnixConnection(path)

    def raw(self, method, path, body=None):
        """Gives status and bytes. A connection that was closed in between is made anew, once."""
        text = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        for last in (False, True):
            try:
                self.connection.request(method, API + path, text, headers)
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except (ConnectionError, http.client.HTTPException) as error:
                self.connection.close()
                if last:
                    raise Unmeasured(f"the Docker Engine at {self.path} does not answer: {error}") from error
            except OSError as error:
                self.connection.close()
                raise Unmeasured(f"the Docker Engine at {self.path} cannot be reached: {error}") from error
        raise AssertionError("the second try returns or raises")

    def call(self, method, path, body=None):
        """Gives the answer's JSON; None if it has no body.

        Raises Unmeasured for every status that is an error."""
        status, answer = self.raw(method, path, body)
        if status >= 400:
            raise Unmeasured(f"the engine refused {method} {path}: {status} {answer[:300]!r}")
        return json.loads(answer) if answer.strip() else None

    def containers(self, *labels):
        """Gives the ids of the containers with all these labels, running or not."""
        return [c["Id"] for c in self.call("GET", "/containers/json?all=1&" + filters(labels))]

    def container(self, name):
        return self.call("GET", f"/containers/{name}/json")

    def create(self, name, body):
        return self.call("POST", f"/containers/create?name={name}", body)["Id"]

    def start(self, container):
        self.call("POST", f"/containers/{container}/start")

    def address(self, container, network):
        """Gives the container's IP address on a network."""
        return self.container(container)["NetworkSettings"]["Networks"][network]["IPAddress"]

    def remove(self, container):
        """Kills and removes a container; it is no error if there is none."""
        self.raw("DELETE", f"/containers/{container}?force=1&v=1")

    def kill(self, container):
        """Kills what runs, and waits until it has ended."""
        self.call("POST", f"/containers/{container}/kill")
        self.call("POST", f"/containers/{container}/wait")

    def deaths(self, since, until, *labels):
        """Gives when containers with all these labels ended, between two moments. All are Unix times in seconds."""
        asked = {"label": list(labels), "event": ["die"], "type": ["container"]}
        between = {"since": f"{since:.6f}", "until": f"{until:.6f}"}
        query = urllib.parse.urlencode(between | {"filters": json.dumps(asked)})
        status, answer = self.raw("GET", f"/events?{query}")
        if status != 200:
            raise Unmeasured(f"the engine told no events: {status} {answer[:300]!r}")
        return [json.loads(line)["timeNano"] / 1e9 for line in answer.splitlines() if line.strip()]

    def make_network_like(self, name, label, model):
        """Makes a network with the driver and the options of the network `model`."""
        found = self.call("GET", f"/networks/{model}")
        body = {"Name": name, "Driver": found["Driver"], "Options": found["Options"], "Labels": label}
        return self.call("POST", "/networks/create", body)

    def remove_all(self, label, prefix):
        """Removes the containers, networks and volumes with a label, and the images under `prefix/`. Repeatable."""
        for container in self.containers(label):
            self.remove(container)
        for network in self.call("GET", "/networks?" + filters([label])):
            self.raw("DELETE", f"/networks/{network['Id']}")
        for volume in self.call("GET", "/volumes?" + filters([label]))["Volumes"] or []:
            self.raw("DELETE", f"/volumes/{volume['Name']}")
        for image in self.call("GET", "/images/json?" + filters([label])):
            for tag in image["RepoTags"] or [image["Id"]]:
                self.raw("DELETE", f"/images/{tag}?force=1")
        for image in self.call("GET", "/images/json"):
            for tag in image["RepoTags"] or []:
                if tag.startswith(prefix + "/"):
                    self.raw("DELETE", f"/images/{tag}?force=1")
        # The firewall's rules, and the control group of all apps, if they could be made.
        for table in (f"func_{prefix}", f"func_{prefix}-builds"):
            subprocess.run(["nft", "delete", "table", "inet", table], capture_output=True, check=False)
        for group in glob.glob(f"/sys/fs/cgroup/{prefix}") + glob.glob(f"/sys/fs/cgroup/*/{prefix}"):
            with contextlib.suppress(OSError):
                os.rmdir(group)


def filters(labels):
    return urllib.parse.urlencode({"filters": json.dumps({"label": list(labels)})})


def docker(*args, folder=None, timeout=120):
    """Runs the docker program with the old builder, which every one has; gives what it prints."""
    environment = dict(os.environ, DOCKER_BUILDKIT="0", DOCKER_HOST=f"unix://{SOCKET}")
    command = ["docker", *args]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unmeasured(f"docker {args[0]}: {error}") from error
    if done.returncode != 0:
        raise Unmeasured(f"docker {args[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()
