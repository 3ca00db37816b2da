"""The ledger's Redis: a container without a network, on a unix socket, as in the compose deployment."""

import os
import socket

from .clock import until
from .twin import LABEL

IMAGE = "redis:7-alpine"


class Redis:
    """A running Redis with nothing in it."""

    def __init__(self, engine, folder, bench):
        self.engine, self.folder, self.bench = engine, folder, bench
        self.path = os.path.join(folder, "redis.sock")
        self.container = None

    def __enter__(self):
        keep_nothing = ["--save", "", "--appendonly", "no"]
        body = {
            "Image": IMAGE,
            "Entrypoint": ["redis-server"],
            "Cmd": ["--port", "0", "--unixsocket", self.path, "--unixsocketperm", "700", *keep_nothing],
            "User": f"{os.geteuid()}:{os.getegid()}",
            "Labels": {LABEL: self.bench},
            "HostConfig": {"NetworkMode": "none", "Binds": [f"{self.folder}:{self.folder}"]},
        }
        try:
            self.container = self.engine.create(f"{self.bench}-redis", body)
            self.engine.start(self.container)
            until("Redis answers", self.answers, limit=20)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.container:
            self.engine.remove(self.container)

    @property
    def url(self):
        return f"redis+unix://{self.path}"

    def answers(self):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(1)
                connection.connect(self.path)
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False
