"""One HTTP request on a connection of its own, watched byte by byte."""

import socket
import time

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


def get(address, host="localhost", path="/"):
    """Asks once; gives when the first byte of the answer came, and the body as text.

    Raises Unmeasured unless the answer is a 200."""
    with connect(address) as connection:
        connection.settimeout(ANSWER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        try:
            connection.sendall(ask.encode())
            answer = connection.recv(65536)
            first = now()
            while len(answer) < ANSWER_BYTES and (more := connection.recv(65536)):
                answer += more
        except OSError as error:
            raise Unmeasured(f"{host} did not answer: {error}") from error
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise Unmeasured(f"{host} answered {answer[:300]!r}")
    return first, body.decode(errors="replace")
