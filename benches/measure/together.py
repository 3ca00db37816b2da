"""Requests that are asked together: each on a new connection, all sent before the first answer is read."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass

from . import timing
from .clock import now
from .failure import Unmeasured

# How many connections are made at once: fewer than any listener lets wait.
BATCH = 100
# From the last connection to the sending: the edge has read what there is of every head by then.
SETTLE = 0.1
# How long the slowest answer may take: a request that waits for a start is told within 30 s.
LIMIT = 60


@dataclass
class Reply:
    """What one request got: seconds since the sending began, and what was answered; status 0 is a broken connection."""

    app: str
    sent: float
    first: float = 0.0
    status: int = 0
    retry_after: str = ""
    way: str = ""
    body: str = ""

    @property
    def took(self):
        return self.first - self.sent


class Guest(asyncio.Protocol):
    """One connection. The head is sent at once but for its last byte, which is the request."""

    def __init__(self, connection, host):
        self.connection = connection
        text = f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nConnection: close\r\n\r\n"
        self.head = text.encode()
        self.sent, self.first, self.answer = 0.0, 0.0, b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.head[:-1])

    def send(self):
        self.sent = now()
        # Past the transport, which takes five times as long. Its buffer is empty, and a byte has room.
        with suppress(OSError):  # What is broken has ended, and its reply says so.
            self.connection.send(self.head[-1:])

    def data_received(self, data):
        self.first = self.first or now()
        self.answer += data

    def connection_lost(self, _):
        self.first = self.first or now()
        if not self.ended.done():
            self.ended.set_result(None)


def ask_together(guests):
    """Asks each of some triples (app, address, host) once; gives a Reply for each, in the order of asking."""
    return asyncio.run(asked(guests))


async def asked(all_of_them):
    guests = []
    for start in range(0, len(all_of_them), BATCH):
        batch = all_of_them[start : start + BATCH]
        guests += await asyncio.gather(*(connected(address, host) for _, address, host in batch))
    await asyncio.sleep(SETTLE)
    early = sum(1 for guest in guests if guest.first)
    if early:
        raise Unmeasured(f"{early} of {len(guests)} connections were answered or closed before they asked")
    began = now()
    for guest in guests:
        guest.send()
    _, late = await asyncio.wait([guest.ended for guest in guests], timeout=LIMIT)
    for guest in guests:
        guest.transport.abort()
    if late:
        raise Unmeasured(f"{len(late)} of {len(guests)} requests had no end within {LIMIT} s")
    return [reply(app, guest, began) for (app, *_), guest in zip(all_of_them, guests)]


async def connected(address, host):
    loop, connection = asyncio.get_running_loop(), socket.socket()
    connection.setblocking(False)
    try:
        await loop.sock_connect(connection, address)
        _, guest = await loop.create_connection(lambda: Guest(connection, host), sock=connection)
    except OSError as error:
        connection.close()
        raise Unmeasured(f"{host} takes no connection: {error}") from error
    return guest


def reply(app, guest, began):
    head, end, body = guest.answer.partition(b"\r\n\r\n")
    told = Reply(app, guest.sent - began, guest.first - began)
    lines = head.decode("latin-1").split("\r\n")
    status = lines[0].split(" ", 2)
    if not end or len(status) < 2 or not status[1].isdigit():
        return told
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = headers.get("content-length", "")
    if length.isdigit() and len(body) != int(length):
        return told
    told.status, told.body = int(status[1]), body.decode(errors="replace")
    told.retry_after = headers.get("retry-after", "")
    told.way, _ = timing.read(headers.get("server-timing", ""))
    return told
