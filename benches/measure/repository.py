"""The developer's side: a git repository with an app in it, pushed with the real git."""

import os
import subprocess

from .clock import now
from .failure import Unmeasured

PUSH = 180
# Nothing of the machine's own git settings.
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "bench",
    "GIT_AUTHOR_EMAIL": "bench@example.org",
    "GIT_COMMITTER_NAME": "bench",
    "GIT_COMMITTER_EMAIL": "bench@example.org",
}


class Repository:
    """A repository in a folder of its own, and the URL of its app."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url
        os.makedirs(folder)
        self.git("init", "-q", "-b", "main")

    def git(self, *args):
        environment = dict(os.environ, **ENVIRONMENT)
        try:
            done = subprocess.run(
                ["git", *args],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PUSH,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unmeasured(f"git {args[0]} took longer than {PUSH} s") from error
        if done.returncode != 0:
            raise Unmeasured(f"git {args[0]} failed: {done.stderr.strip()[-1500:]}")
        return done.stderr

    def commit(self, files):
        write(self.folder, files)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "a change")

    def push(self, url=None):
        """Pushes, to another app if `url` says so; gives when it began, and what git printed."""
        began = now()
        return began, self.git("push", url or self.url, "main")


def write(folder, files):
    """Writes files by their paths in a folder: text, or a program as bytes."""
    for name, content in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        program = isinstance(content, bytes)
        with open(path, "wb") as file:
            file.write(content if program else content.encode())
        if program:
            os.chmod(path, 0o755)
