"""What the clients of a scene do, the same each time, and what must come of it."""

import itertools
import signal
from contextlib import ExitStack, suppress

from harness.client import Client
from harness.procfs import wait_until

from .checks import (
    LIMIT,
    Failure,
    GaveUp,
    check_children,
    check_end,
    check_rest,
    is_deaf,
    wait_until_up,
)


class Play:
    """The clients of one server, and what has become of them."""

    def __init__(self, server, case, scene):
        self.server, self.case, self.scene = server, case, scene
        self.unserved = []
        # Only the calls of the child that serves it may cost a client its answer,
        # and an interruption may not at all.
        self.struck = bool(case) and case.role in ("child", "any") and case.error != "EINTR"
        self.may_lose = self.struck or scene.refuses
        self.serial = 0
        self.clients = []
        self.addresses = None

    def open(self, handler="echo", source=None):
        """A connected client, which asks for this handler where it has a choice."""
        self.addresses = self.addresses or itertools.cycle(self.server.addresses)
        address = next(self.addresses)
        if address.startswith("unix:"):
            source = ""  # Events are to tell it from the others.
        try:
            # What is refused is given up after some seconds, one listener after the other.
            patience = 2 * LIMIT if self.case and self.case.forever else LIMIT
            client = Client(address, patience, source=source)
            self.clients.append(client)
        except TimeoutError as problem:
            raise Failure("a client cannot connect") from problem
        except OSError as problem:
            self._wait_end(f"connect: {problem}")
        if self.scene.obeys:
            # It may be refused already, as the first answer will tell.
            with suppress(OSError):
                client.send(handler.encode() + b"\n")
        return client

    def ask(self, client):
        """Whether it was answered; else how it ended is to be told by an event."""
        self.serial += 1
        data = b"%d\n" % self.serial
        try:
            if client.ask(data) == data:
                self.server.has_served = True
                return True
            what = "wrong answer"
        except TimeoutError as problem:
            raise Failure("a client hangs") from problem
        except (OSError, AssertionError) as problem:
            what = str(problem)
        if not self.may_lose:
            self._wait_end(f"a client got no answer: {what}")
        self.unserved.append(client.name)
        return False

    def child(self, client):
        """The process that has greeted it; None if it was lost before."""
        try:
            pid = client.child()
        except TimeoutError as problem:
            raise Failure("a client hangs") from problem
        except (OSError, AssertionError, ValueError) as problem:
            if not self.may_lose:
                self._wait_end(f"a client was not greeted: {problem}")
            self.unserved.append(client.name)
            return None
        self.server.has_served = True
        return pid

    def leave(self, client):
        """Half-closes, and waits for the server's end of file."""
        try:
            client.half_close()
            client.rest()
        except TimeoutError as problem:
            raise Failure("a client waits for the end of its connection") from problem
        except OSError:
            pass  # Reset: gone as well.
        client.close()

    def wait_cut(self, client):
        """It does not leave: the server is to end the connection."""
        try:
            client.rest()
        except TimeoutError as problem:
            raise Failure("a connection has no end") from problem
        except OSError:
            pass
        client.close()

    def insist(self, right, what):
        """Unless the fault may be the reason, this is to be so."""
        if not right and not self.struck:
            self._wait_end(what)

    def _wait_end(self, what):
        """Something is wrong: either the server is about to end, or this is it."""
        for client in self.clients:
            client.close()
        try:
            wait_until(lambda: self.server.ended, what, LIMIT)
        except AssertionError as problem:
            raise Failure(f"{what}, and the server goes on") from problem
        raise GaveUp

    def stop(self, done):
        """SIGTERM, whose handler calls stop; again where stop itself was to fail."""
        again = self.case and self.case.call in ("write", "kill", "pidfd_send_signal")
        for limit in (3.0, 3.0, LIMIT) if again else (LIMIT,):
            if not self.server.ended:
                self.server.signal(signal.SIGTERM)
            try:
                wait_until(lambda: done() or self.server.ended, "a stop", limit)
                if self.server.ended and not done():
                    self._wait_told(done)
                return
            except AssertionError:
                continue
        raise Failure("a stop has no effect")

    def _wait_told(self, done):
        """It has ended: what it has said may still be on its way."""
        try:
            wait_until(done, "its last words", 1.0)
        except AssertionError as problem:
            raise GaveUp from problem

    def is_draining(self):
        server = self.server
        return server.events("draining") if self.scene.observed else is_deaf(server)

    def wait_end(self):
        try:
            self.server.wait_exit(LIMIT)
        except Exception as problem:
            raise Failure(f"does not end: {problem}") from problem
        check_end(self)

    def check_signals(self, expected):
        """The children that had to be ended were, by these signals. A signal that
        could not be sent is made up for by the next."""
        if not self.scene.observed:
            return
        got = {event["pid"]: event["exit_signal"] for event in self.server.events("ended")}
        for pid, number in expected.items():
            allowed = {number, signal.SIGKILL} if self.case else {number}
            if self.case and self.case.forever and self.case.call == "waitid":
                allowed.add(0)  # Nobody can know.
            if pid is not None and got.get(pid) not in allowed and not self.struck:
                raise Failure(f"child {pid} was ended by {got.get(pid)}, not by {number}")


def plain(play):
    """Three at once, one that says nothing, one that resets, six in turn, and then
    a stop, which one client outlasts until there is a second one."""
    server = play.server
    wait_until_up(server)
    with ExitStack() as stack:
        first = [stack.enter_context(play.open()) for _ in range(3)]
        served = [client for client in first if play.ask(client)]
        if len(served) == 3:
            check_children(server, play.scene)
        for client in first:
            play.leave(client)
    # One that says nothing, one that leaves with a reset.
    play.open().close()
    rude = play.open()
    rude.send(b"x\n")
    rude.reset()
    for _ in range(6):
        client = play.open()
        play.ask(client)
        play.leave(client)
    check_rest(server)
    drain(play)


def drain(play):
    """One client finishes after the stop; the other does not, and is cut by a
    second stop."""
    with play.open() as stays, play.open() as hangs:
        play.ask(stays)
        play.ask(hangs)
        play.stop(play.is_draining)
        if stays.name not in play.unserved:
            play.ask(stays)
        play.leave(stays)
        play.stop(lambda: play.server.ended)
    play.wait_end()


def lifetime(play):
    """Two that stay too long, one of whose children ignores SIGTERM, and others
    beside and after them."""
    server = play.server
    wait_until_up(server)
    # On a busy machine anyone may take too long.
    play.may_lose = True
    expected = {}
    for _ in range(2):
        with play.open("hold") as holds, play.open("ignore-term") as ignores:
            expected[play.child(holds)] = signal.SIGTERM
            expected[play.child(ignores)] = signal.SIGKILL
            with play.open() as client:
                play.ask(client)
                play.leave(client)
            play.wait_cut(holds)
            play.wait_cut(ignores)
    for _ in range(2):
        client = play.open()
        play.ask(client)
        play.leave(client)
    check_rest(server)
    play.stop(lambda: server.ended)
    play.wait_end()
    play.check_signals(expected)


def grace(play):
    """After one stop: one client finishes in time, one is ended by SIGTERM, and one
    by SIGKILL. Nobody asks a second time."""
    server = play.server
    wait_until_up(server)
    with play.open() as stays, play.open("hold") as holds, play.open("ignore-term") as ignores:
        play.ask(stays)
        expected = {play.child(holds): signal.SIGTERM, play.child(ignores): signal.SIGKILL}
        play.stop(play.is_draining)
        # On a busy machine the time may be over.
        play.may_lose = True
        if stays.name not in play.unserved:
            play.ask(stays)
        play.leave(stays)
        play.wait_cut(holds)
        play.wait_cut(ignores)
        try:
            wait_until(lambda: server.ended, "an end", LIMIT)
        except AssertionError as problem:
            raise Failure("a drain has no end") from problem
    play.wait_end()
    play.check_signals(expected)


def limits(play):
    """More at once of one source than may be, more than there may be children, one
    that crashes its child and comes again, and six quickly one after the other."""
    server = play.server
    queues = "--at-capacity" not in play.scene.options
    wait_until_up(server)
    with ExitStack() as stack:
        same = [stack.enter_context(play.open(source="127.0.0.2")) for _ in range(3)]
        served = sum([play.ask(client) for client in same])
        # Where a child was lost its place is free.
        if served > 2 and not play.struck:
            raise Failure(f"{served} of one source are served at once")
        play.insist(served == 2 or not queues, f"{served} of one source are served")
        others = [
            stack.enter_context(play.open(source=f"127.0.0.{number}")) for number in (3, 4, 5)
        ]
        # Where they queue the last one has to wait for a place.
        served += sum([play.ask(client) for client in others[: 2 if queues else 3]])
        if served > 4 and not play.struck:
            raise Failure(f"{served} are served at once")
        for client in same + others[:2]:
            play.leave(client)
        if queues:
            play.insist(play.ask(others[2]), "a client that waited for a place has none")
        play.leave(others[2])
    with play.open("crash", source="127.0.0.6") as crasher:
        if play.child(crasher) is not None:
            play.wait_cut(crasher)
            _wait_until_barred(play, "127.0.0.6")
    for number in range(7, 13):
        client = play.open(source=f"127.0.0.{number}")
        play.insist(play.ask(client) or not queues, "a client that came quickly is lost")
        play.leave(client)
    check_rest(server)
    drain(play)


def _wait_until_barred(play, source):
    """Its child must have been waited for before anyone can know."""

    def is_barred():
        with play.open(source=source) as client:
            play.ask(client)
            play.leave(client)
        return play.struck or play.server.events("refused", reason="penalty")

    try:
        wait_until(is_barred, "a penalty", LIMIT)
    except AssertionError as problem:
        raise Failure(f"{source} crashes children and goes on") from problem


PLAYS = {"plain": plain, "lifetime": lifetime, "grace": grace, "limits": limits}
