"""Figure 3: from `git push` of a one-line change to its answer, beside `docker build` of the same files."""

import io
import os
import tarfile
import time

from .clock import now, until
from .engine import docker
from .failure import Unmeasured
from .figure import Figure
from .repository import write
from .request import get
from .twin import Twins

SITE, DOCKERFILE = "page", "image"
# A small static server, and as the last layer what changes. The app stays awake from one push to the next.
FILES = {
    "Dockerfile": 'FROM scratch\nCOPY func-static /func-static\nCMD ["/func-static"]\nCOPY site /site\n',
    "func.toml": 'idle = "10m"\n',
}
SERVER = "/func-static"
REST = 0.5
NOTE = (
    "func: from the start of `git push` over HTTP until the edge answers with the new line, tested and live; less is "
    "better. Its peers have the same files in a folder: `docker build` alone with the old builder, and the same "
    "followed by `docker run` to the first byte."
)


def measure(server, folder, bench, rounds):
    """Gives the figure, in `rounds` rounds."""
    figure = Figure("push to live, one changed line", NOTE)
    pushed = figure.row("func: push of a Dockerfile app", "ms")
    built = figure.row("`docker build` alone", "ms")
    ran = figure.row("`docker build` + `docker run`", "ms")
    site = figure.row("func: push of a static site (no Dockerfile)", "ms")
    apps = {SITE: server.repository(SITE), DOCKERFILE: server.repository(DOCKERFILE)}
    apps[SITE].commit({"index.html": page("first"), "func.toml": FILES["func.toml"]})
    apps[SITE].push()
    program = static_server(server)
    apps[DOCKERFILE].commit(FILES | {"func-static": program, "site/index.html": page("first")})
    apps[DOCKERFILE].push()
    context = os.path.join(folder, "context")
    write(context, FILES | {"func-static": program})
    twins = Twins(server.engine, bench, DOCKERFILE, server.awake(DOCKERFILE))
    for number in range(-1, rounds):
        took = {
            pushed: push(server, apps[DOCKERFILE], DOCKERFILE, "site/index.html", number),
            site: push(server, apps[SITE], SITE, "index.html", number),
        }
        took[built], took[ran] = build(context, twins, number)
        # The first round fills the caches, and does not count.
        if number >= 0:
            for row, seconds in took.items():
                row.add(seconds * 1000)
    return figure


def page(line):
    return f"<!doctype html>\n<h1>{line}</h1>\n"


def push(server, repository, app, path, number):
    """Gives the seconds from the start of a push until its page is answered."""
    text = page(f"change {number}")
    repository.commit({path: text})
    began, said = repository.push()
    while True:
        at, body = get(server.edge, server.host(app))
        if body == text:
            break
        if now() - began > 30:
            raise Unmeasured(f"{app} is not live after its push:\n{said}")
    # The instance before it is stopped and removed behind the scenes.
    until("the old release is gone", lambda: len(server.containers(app)) == 1)
    time.sleep(REST)
    return at - began


def build(context, twins, number):
    """Gives the seconds of a build alone, and of a build, a start and a first byte."""
    write(context, {"site/index.html": page(f"change {number}")})
    image = f"{twins.bench}/page:{number + 1}"
    began = now()
    docker("build", "-q", "-t", image, ".", folder=context)
    built = now() - began
    ran = twins.by_command(image)
    time.sleep(REST)
    return built, built + ran


def static_server(server):
    """Gives the program of the static recipe, out of the container of a site."""
    container = server.awake(SITE)["Id"]
    status, archive = server.engine.raw("GET", f"/containers/{container}/archive?path={SERVER}")
    if status != 200:
        raise Unmeasured(f"the site's container has no {SERVER}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.extractfile(SERVER.strip("/")).read()
