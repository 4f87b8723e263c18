"""A TCP proxy for the integration tests that can misbehave as a network does."""

import collections
import queue
import random
import selectors
import socket
import struct
import threading
import time


given = {}  # port: what keeps it ours while its server is down


def reserved(port):
    """Ours until we end, among all tests that run on this machine; None if it
    is somebody's. A name of a socket and not a file: nothing stays behind."""
    s = socket.socket(socket.AF_UNIX)
    try:
        s.bind(f"\0pelorus-test-port-{port}")
        return s
    except OSError:
        s.close()
        return None


def server_port():
    """A free port below those that the kernel gives to clients. While a server
    is down, somebody who knocks again and again must not get its port as his
    own: he would meet himself, and the server could not come back."""
    while True:
        port = random.randrange(20000, 32000)
        ours = None if port in given else reserved(port)
        if ours is None:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                ours.close()
                continue
        given[port] = ours
        return port


def close(s, reset):
    """Orderly, or with a reset, which throws away what was not yet read."""
    if reset:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


class Pipe:
    """One direction of a proxied connection: what was read and is not yet due."""

    FULL = 1 << 20

    def __init__(self, source, target, to_server):
        self.source, self.target, self.to_server = source, target, to_server
        self.chunks = collections.deque()  # (when due, bytes)
        self.size = 0
        self.ended = False


class Proxy:
    """A TCP proxy to one address that can misbehave as a network does.

    cut() holds what is sent, in both directions or one, while connections stay
    open and new ones are accepted: a black hole, after which TCP delivers late
    what it kept. reset() breaks all connections; refuse() also the new ones.
    strand() does so for the clients alone: the server is told nothing. With
    `patience` a server that does not listen yet is waited for that long.
    """

    def __init__(self, target, patience=0, address="127.0.0.1", port=None):
        self.patience = patience
        host, number = target.rsplit(":", 1)
        self.target = (host, int(number))
        self.address, self.port = address, port or server_port()
        self.connect = f"{self.address}:{self.port}"
        self.held = {True: False, False: False}  # by Pipe.to_server
        self.seconds = 0.0
        self.accepted = 0
        self.pipes = {}  # by the socket it reads from
        self.stranded = []
        self.orders = queue.Queue()
        self.wake, self.woken = socket.socketpair()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.woken, selectors.EVENT_READ)
        self.listener = None
        self.listen()
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.running = True
        self.thread.start()

    # --- orders, from the test's thread; done when they return

    def order(self, action):
        done = threading.Event()
        self.orders.put((action, done))
        self.wake.send(b"x")
        if not done.wait(60):
            raise TimeoutError("the proxy does not answer")

    def cut(self, to_server=True, to_client=True):
        self.order(lambda: self.held.update({True: to_server, False: to_client}))

    def heal(self):
        """Whatever was ordered before: carry, at once."""
        def carry():
            self.forget_stranded()
            self.held.update({True: False, False: False})
            self.seconds = 0.0
            if self.listener is None:
                self.listen()
        self.order(carry)

    def delay(self, seconds):
        def slow():
            self.seconds = seconds
        self.order(slow)

    def reset(self):
        self.order(self.reset_all)

    def refuse(self):
        def gone():
            self.deafen()
            self.reset_all()
        self.order(gone)

    def strand(self):
        def lose():
            self.deafen()
            for pipe in [p for p in self.pipes.values() if p.to_server]:
                for s in (pipe.source, pipe.target):
                    self.pipes.pop(s, None)
                    if s in self.selector.get_map():
                        self.selector.unregister(s)
                close(pipe.source, True)
                self.stranded.append(pipe.target)
        self.order(lose)

    def end(self):
        def leave():
            self.running = False
            self.forget_stranded()
            self.reset_all()
        self.order(leave)
        self.thread.join()
        for s in (self.listener, self.wake, self.woken):
            if s:
                s.close()
        self.selector.close()

    # --- its own thread

    def listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.address, self.port))
        self.listener.listen(128)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)

    def deafen(self):
        if self.listener:
            self.selector.unregister(self.listener)
            self.listener.close()
            self.listener = None

    def forget_stranded(self):
        while self.stranded:
            close(self.stranded.pop(), True)

    def reset_all(self):
        for s in list(self.pipes):
            self.drop(s)

    def drop(self, s, reset=True):
        """End the connection that `s` is one end of."""
        pipe = self.pipes.pop(s, None)
        if pipe:
            self.pipes.pop(pipe.target, None)
            for end in (pipe.source, pipe.target):
                if end in self.selector.get_map():
                    self.selector.unregister(end)
                close(end, reset)

    def accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        self.accepted += 1
        by = time.monotonic() + self.patience
        while True:
            try:
                # a refusal by the server is one by us
                server = socket.create_connection(self.target, timeout=5)
                break
            except OSError:
                if time.monotonic() >= by:
                    close(client, True)
                    return
                threading.Event().wait(0.02)
        for s in (client, server):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pipes[client] = Pipe(client, server, True)
        self.pipes[server] = Pipe(server, client, False)

    def watch(self):
        """Ask the selector for what each socket may do now; the time until
        something is due, None for never."""
        now = time.monotonic()
        due = None
        wanted = collections.Counter()
        for s, pipe in self.pipes.items():
            if self.held[pipe.to_server]:
                continue
            if not pipe.ended and pipe.size < Pipe.FULL:
                wanted[s] |= selectors.EVENT_READ
            if pipe.chunks:
                if pipe.chunks[0][0] <= now:
                    wanted[pipe.target] |= selectors.EVENT_WRITE
                elif due is None or pipe.chunks[0][0] < due:
                    due = pipe.chunks[0][0]
        known = self.selector.get_map()
        for s in self.pipes:
            events = wanted[s]
            if s not in known:
                if events:
                    self.selector.register(s, events)
            elif not events:
                self.selector.unregister(s)
            elif known[s].events != events:
                self.selector.modify(s, events)
        return None if due is None else max(0.0, due - now)

    def read(self, s):
        pipe = self.pipes[s]
        try:
            data = s.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.drop(s)
            return
        if data:
            pipe.size += len(data)
        else:
            pipe.ended = True
        pipe.chunks.append((time.monotonic() + self.seconds, data))

    def write(self, s):
        """Send what is due to `s`; an empty chunk is the end."""
        pipe = self.pipes[self.pipes[s].target]
        while pipe.chunks and pipe.chunks[0][0] <= time.monotonic():
            when, data = pipe.chunks.popleft()
            if not data:
                self.drop(s, reset=False)
                return
            try:
                sent = s.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.drop(s)
                return
            pipe.size -= sent
            if sent < len(data):
                pipe.chunks.appendleft((when, data[sent:]))
                return

    def loop(self):
        while self.running:
            for key, events in self.selector.select(self.watch()):
                s = key.fileobj
                if s is self.woken:
                    self.woken.recv(4096)
                elif s is self.listener:
                    self.accept()
                else:
                    if events & selectors.EVENT_READ and s in self.pipes:
                        self.read(s)
                    if events & selectors.EVENT_WRITE and s in self.pipes:
                        self.write(s)
            while not self.orders.empty():
                action, done = self.orders.get()
                action()
                done.set()
