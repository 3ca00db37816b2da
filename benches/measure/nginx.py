"""nginx as a proxy in front of containers, set up as one would for speed."""

import os
import socket

from .clock import until
from .failure import Unmeasured
from .machine import free_port
from .process import Process, children

# The same headers that func's edge adds; connections are kept on both sides; as many workers as cores.
CONF = """
{user}
worker_processes auto;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
{apps}
}}
"""
APP = """
    upstream app{number} {{
        server {upstream};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name {name};
        location / {{
            proxy_pass http://app{number};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-Id $request_id;
            add_header X-Request-Id $request_id;
        }}
    }}
"""


class Nginx:
    """A running nginx."""

    def __init__(self, folder, upstreams):
        """`upstreams` are pairs of a host name and the address behind it; the first one has every other name as well."""
        self.folder = folder
        os.makedirs(folder)
        self.address = ("127.0.0.1", free_port())
        user = "user root;" if os.geteuid() == 0 else ""
        conf = os.path.join(folder, "nginx.conf")
        apps = [
            APP.format(number=number, name=name, upstream=f"{upstream[0]}:{upstream[1]}", port=self.address[1])
            for number, (name, upstream) in enumerate(upstreams)
        ]
        with open(conf, "w", encoding="utf-8") as file:
            file.write(CONF.format(user=user, folder=folder, apps="".join(apps)))
        command = ["nginx", "-c", conf, "-p", folder]
        self.process = Process(command, os.path.join(folder, "nginx.log"))

    def __enter__(self):
        try:
            until("nginx listens", lambda: self.process.check() or self.listens())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.stop(grace=10)

    def listens(self):
        try:
            socket.create_connection(self.address, timeout=1).close()
        except OSError:
            return False
        return True

    def pids(self):
        """Gives the ids of master and workers."""
        return [self.process.pid, *children(self.process.pid)]


def check_installed():
    """Raises Unmeasured if nginx or wrk is missing."""
    for program in ("nginx", "wrk"):
        if not any(os.access(os.path.join(p, program), os.X_OK) for p in search_path()):
            raise Unmeasured(f"{program} is missing: .ci/setup bench installs it")


def search_path():
    return os.environ.get("PATH", "").split(":")
