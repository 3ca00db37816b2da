"""Many apps of the same files: each pushed by itself, all of one image."""

import time

from .resident import container_mb

# How many poised containers are read.
POISED = 20
# After the last of them has come to rest, the machine does as well.
SETTLE = 2.0


class Crowd:
    """Apps `hello-2`, `hello-3` and so on beside `hello`, at one place."""

    def __init__(self, place, repository, first):
        self.place, self.repository = place, repository
        self.apps = [first]

    def grow(self, number):
        """Pushes until there are `number` of them."""
        while len(self.apps) < number:
            app = f"{self.apps[0]}-{len(self.apps) + 1}"
            self.repository.push(self.place.server.url(app))
            self.apps.append(app)

    def freeze(self):
        """Wakes what rests, and waits until all are frozen."""
        for app, phase in self.place.phases.all().items():
            if app in self.apps and phase in ("cold", "poised"):
                self.place.ask(app)
        self.place.phases.reach("frozen", *self.apps)
        time.sleep(SETTLE)

    def rest(self):
        """Brings all to rest, and waits until all are poised."""
        # Asked one after the other and waited for together: the stops of many run side by side.
        for app, phase in self.place.phases.all().items():
            if app in self.apps and phase in ("warm", "frozen"):
                self.place.phases.ask_to_rest(app)
        for app in self.apps:
            self.place.phases.rest(app, "poised")
        time.sleep(SETTLE)

    def memory_mb(self, apps):
        """Gives what the containers of these apps take, each."""
        server = self.place.server
        return [container_mb(server.engine, each) for app in apps for each in server.containers(app)]

    def poised_mb(self):
        return self.memory_mb(self.apps[-POISED:])

    def frozen_mb(self):
        return self.memory_mb(self.apps)
