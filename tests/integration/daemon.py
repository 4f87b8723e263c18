"""A registry's server in the integration tests, whichever it is."""

from cluster import check, wait_for


class Daemon:
    """A process that can be killed, stopped (SIGSTOP) and started again on its
    ports and data. Who derives from it says in start() how it is started, and
    in serves() whether it does."""

    kind = None
    process = None
    start_seconds = 30

    def start(self):
        raise NotImplementedError

    def serves(self):
        raise NotImplementedError

    def wait(self):
        def serves():
            check(self.process.alive(), lambda: f"{self.kind} exited: {self.process.text()[-1500:]}")
            return self.serves()
        wait_for(f"{self.kind} serving", serves, self.start_seconds)
        return self

    def kill(self):
        self.process.kill()
        self.process.file.close()

    def stop(self):
        self.process.stop()

    def resume(self):
        self.process.resume()

    def end(self):
        """At once: nobody needs its data any more."""
        if self.process:
            self.kill()
