"""One HTTP request on a connection of its own, watched byte by byte."""

import socket
import time
from dataclasses import dataclass

from .clock import now
from .failure import Unmeasured

# How often a connection is tried that was refused, in seconds: finer than anything that is measured.
AGAIN = 0.0002
# How long an answer may take: a cold start has 40 s at most.
ANSWER = 45
ANSWER_BYTES = 1024 * 1024


def connect(address, limit=30.0):
    """Connects, trying again while nobody listens yet."""
    end = now() + limit
    while True:
        try:
            return socket.create_connection(address, timeout=1.0)
        except OSError as error:
            if now() > end:
                raise Unmeasured(f"nobody listens at {address[0]}:{address[1]}: {error}") from error
        time.sleep(AGAIN)


@dataclass
class Answer:
    """What came back: when its first byte did, its head, and its body as text."""

    first: float
    head: str
    body: str

    def header(self, name):
        """Gives the value of a header; an empty one if there is none."""
        for line in self.head.splitlines()[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower() == name:
                return value.strip()
        return ""


def ask(address, host="localhost", path="/"):
    """Asks once.

    Raises Unmeasured unless the answer is a 200."""
    with connect(address) as connection:
        connection.settimeout(ANSWER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        text = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        try:
            connection.sendall(text.encode())
            answer = connection.recv(65536)
            first = now()
            while len(answer) < ANSWER_BYTES and (more := connection.recv(65536)):
                answer += more
        except OSError as error:
            raise Unmeasured(f"{host} did not answer: {error}") from error
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)
    if len(status) < 2 or status[1] != b"200":
        raise Unmeasured(f"{host} answered {answer[:300]!r}")
    return Answer(first, head.decode("latin-1"), body.decode(errors="replace"))


def get(address, host="localhost", path="/"):
    """Asks once; gives when the first byte of the answer came, and the body as text.

    Raises Unmeasured unless the answer is a 200."""
    answer = ask(address, host, path)
    return answer.first, answer.body
