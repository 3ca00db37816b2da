"""What is woken: three small servers, each as an app to push and as a program to start on the bare host."""

import os
import shutil
from dataclasses import dataclass, field

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples")
NODE_DOCKERFILE = 'FROM node:18-slim\nCOPY app.js /app.js\nUSER 65534\nCMD ["node", "/app.js"]\n'
NODE_APP = """// Answers hello on $PORT, and leaves at once when asked to.
const http = require("http");

process.on("SIGTERM", () => process.exit(0));
http.createServer((_, response) => response.end("Hello, you\\n")).listen(process.env.PORT);
"""


@dataclass(frozen=True)
class Kind:
    """`name` is its app's; `base` and `interpreter` are in its Dockerfile; `program` starts the same on the host, in a
    folder with its files, if the host can."""

    name: str
    title: str
    files: dict = field(hash=False)
    base: str = ""
    interpreter: str = ""
    program: tuple = ()


def kinds():
    node = {"Dockerfile": NODE_DOCKERFILE, "app.js": NODE_APP}
    return [
        Kind("hello", "static hello", {"index.html": "<h1>hello</h1>\n"}),
        Kind("python", "Python", example("python"), "python:3-slim", "python3", program("python3", "-u", "app.py")),
        Kind("node", "Node", node, "node:18-slim", "node", program("node", "app.js")),
    ]


def example(name):
    folder = os.path.join(EXAMPLES, name)
    files = {}
    for file in sorted(os.listdir(folder)):
        with open(os.path.join(folder, file), encoding="utf-8") as opened:
            files[file] = opened.read()
    return files


def program(name, *arguments):
    """Gives a command by the program's own path: what stands in front of it (pyenv's scripts) takes time of its own.
    Empty if the host has no such program."""
    found = shutil.which(name, path="/usr/bin:/usr/local/bin") or shutil.which(name)
    return (os.path.realpath(found), *arguments) if found else ()
