"""An agent: a node's own, requests in, results and events out, a JSON list of them in each line.

    host -> agent   [{"id": 7, "node": "client", "op": "command", "args": {...}}, ...]
    agent -> host   [{"id": 7, "result": ...}, ...]  or  {"id": 7, "error": {"kind", ...}}; of an id below 0 only this
                    {"child": 7, "event": ...}  or  {"child": 7, "ended": STATUS}

The agents of one process (the nodes of its labs in the netns backend; a container has one) share a loop, those of a lab
the host's line too, and never wait for anything else. Requests are done one after another; what is said to the host
leaves when the loop has done all that there was to do. What takes long is plain blocking code in a child, joined to its
agent by a socket pair of JSON lines, which the agent only passes on. A child is a thread (our listener, the socket
client), or a forked process where it must be one (it starts programs, is stopped, limited, or loses privileges). It has
the number of the request that started it, which has no other answer than what the child says. When the host hangs up,
the agents have served, and their children end.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import importlib
import itertools
import json
import os
import select
import signal
import socket
import stat
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from chaos.agent import kernel, loaded
from chaos.agent.threads import Thread

READ = 1 << 16
"""Bytes of a read; for much more than these, malloc(3) would map and unmap memory each time."""
MISSING = "missing"
FAILED = "failed"
FORGOTTEN, PID = b'{"forgotten":', b'{"pid":'
PATIENCE = 0.5
"""Seconds for a thread to end in."""
SWITCH = 0.0005
"""Seconds after which a thread gets its turn, whatever the others compute (Python's own: 5 ms)."""
SLACK, USUAL_SLACK = 1_000, 50_000
"""Nanoseconds by which a wait may be longer than it was asked for: the loop's, which times the wire, and Linux's own
(prctl(2), PR_SET_TIMERSLACK)."""

encoded: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":")).encode
decoded: Callable[[str], Any] = json.JSONDecoder().decode


class OperationFailed(Exception):
    """An operation's failure in the host's terms: {"kind": "missing" | "failed" | "error", ...}."""

    def __init__(self, **error: Any) -> None:
        self.error = error
        super().__init__(json.dumps(error))


class Lines:
    """JSON lines over a file descriptor, read without blocking and written whole."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader, self.writer = reader, writer
        self._rest: list[bytes] = []

    def write(self, message: Any) -> None:
        self.pass_on(encoded(message).encode() + b"\n")

    def pass_on(self, text: bytes) -> None:
        """Write whole lines as they are."""
        data = memoryview(text)
        while data:
            data = data[os.write(self.writer, data) :]

    def read(self) -> list[Any] | None:
        """The messages that one read(2) completes; None at the end of the stream."""
        lines = self.lines()
        return None if lines is None else decoded(f"[{b','.join(lines).decode()}]")

    def lines(self) -> list[bytes] | None:
        """The same as they are."""
        data = self.receive()
        if not data:
            return None
        self._rest.append(data)
        if b"\n" not in data:
            return []
        *lines, rest = b"".join(self._rest).split(b"\n")
        self._rest = [rest]
        return lines

    def receive(self) -> bytes:
        """One read(2); nothing at the end of the stream."""
        return os.read(self.reader, READ)


class HostLines(Lines):
    """The host's line; over a socket, descriptors may come along with a request (SCM_RIGHTS)."""

    def __init__(self, reader: int, writer: int) -> None:
        super().__init__(reader, writer)
        is_socket = stat.S_ISSOCK(os.fstat(reader).st_mode)
        self._socket = socket.socket(fileno=reader) if is_socket else None
        self.handed_over: list[int] = []

    def receive(self) -> bytes:
        """One recvmsg(2), which never reads beyond a message's descriptors."""
        if self._socket is None:
            return super().receive()
        data, fds = kernel.receive(self._socket, READ, 8)
        self.handed_over += fds
        return data

    def close(self) -> None:
        """Hang up, and let go of what was handed over and not taken."""
        if self._socket is not None:
            self._socket.close()
        for fd in self.handed_over:
            os.close(fd)


class Pipe(Lines):
    """A child's end: blocking, one message at a time."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.fileno(), sock.fileno())
        self._socket = sock
        self._ready: list[Any] = []

    def next(self) -> Any:
        """Wait for a message; the agent's end is this child's end (SystemExit)."""
        while not self._ready:
            messages = self.read()
            if messages is None:
                sys.exit(0)
            self._ready = messages
        return self._ready.pop(0)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


Holds = Literal["nothing", "its-own", "others"]
"""Connections that a child has when its leg of a run is over: a client's, which ends when it is hung up on and closes
them so that nobody notices; or those that a server has accepted, which does the same when it is told {"forget": true}
and answers {"forgotten": n}."""


class Child:
    """A child, and the agent's end of its socket pair; `body` is a process's id, or a thread, or None until it says."""

    def __init__(self, number: int, body: int | Thread | None, sock: socket.socket, holds: Holds) -> None:
        self.number, self.socket, self.holds = number, sock, holds
        self.lines = Lines(sock.fileno(), sock.fileno())
        self._body = body

    @property
    def is_process(self) -> bool:
        """Whether it was forked."""
        return isinstance(self._body, int)

    def introduces_itself(self, line: bytes) -> bool:
        """Whether this is the first word of a process that another one has forked for us."""
        if self._body is None and line.startswith(PID):
            self._body = decoded(line.decode())["pid"]
            return True
        return False

    def kill(self) -> None:
        """End it: a process at once; a thread when it notices that it was hung up on."""
        if isinstance(self._body, int):
            os.kill(self._body, signal.SIGKILL)
        self.hang_up()

    def hang_up(self) -> None:
        """Have it end by itself, if it is waiting for a word."""
        self.socket.shutdown(socket.SHUT_RDWR)

    def ends_soon(self) -> bool:
        """Whether it has ended, within PATIENCE."""
        if isinstance(self._body, Thread):
            return self._body.ended(PATIENCE)
        assert self._body is not None, "who holds connections was forked by us"
        ended = os.pidfd_open(self._body)
        try:
            return bool(select.select([ended], [], [], PATIENCE)[0])
        finally:
            os.close(ended)

    def stop(self, *, stop: bool) -> None:
        """SIGSTOP or SIGCONT to a process, and its effect."""
        assert isinstance(self._body, int), "a thread is not stopped"
        os.kill(self._body, signal.SIGSTOP if stop else signal.SIGCONT)
        os.waitid(os.P_PID, self._body, (os.WSTOPPED if stop else os.WCONTINUED) | os.WEXITED | os.WNOWAIT)

    def await_end(self) -> int:
        """Its exit status. A thread that is in a system call which does not return is left to end by itself."""
        self.socket.close()
        if isinstance(self._body, int):
            return os.waitstatus_to_exitcode(os.waitpid(self._body, 0)[1])
        if self._body is None:
            return 1  # it never was
        self._body.ended(PATIENCE)
        return 0


Neighbour: TypeAlias = tuple[str, str]
"""Of a node: its address, and the interface that leads to it."""


class Home(Protocol):
    """Where a node is, for agents that share a process. `neighbours`: all that it can have."""

    neighbours: Sequence[Neighbour]

    def enter(self) -> None:
        """Have what this process does from now on happen there, and what it starts be there."""

    def settle(self) -> None:
        """In a forked child, which has entered it and stays: be known there by the node's name."""

    def doors(self) -> list[int]:
        """Descriptors of its namespaces, for a process that is in none of them."""

    def separate(self) -> None:
        """Have files that no other node has."""


class Loop:
    """One epoll(7) for all agents of a process."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._alarms: dict[Callable[[], None], float] = {}
        self._place: Home | None = None
        self._over = False
        self.when_done: dict[int, Callable[[], None]] = {}
        """Called when all that was ready has been done; whose they are, by the host's line."""

    def run(self) -> None:
        """Serve until `end`."""
        sys.setswitchinterval(SWITCH)
        kernel.prctl(kernel.PR_SET_TIMERSLACK, SLACK)
        while not self._over:
            ready = [(fd, self._callbacks[fd]) for fd, _ in self._wait()]
            for fd, callback in ready:
                if self._callbacks.get(fd) is callback:  # not closed by a request of the same round
                    callback()
            if self._alarms:
                self._ring()
            for callback in [*self.when_done.values()]:
                callback()

    def _wait(self) -> list[tuple[int, int]]:
        """What is ready, or nothing when it is time for an alarm: epoll_wait(2) counts milliseconds, select(2) less."""
        if not self._alarms:
            return self._epoll.poll()
        patience = min(self._alarms.values()) - time.monotonic()
        if patience > 0 and not select.select([self._epoll], [], [], patience)[0]:
            return []
        return self._epoll.poll(0)

    def _ring(self) -> None:
        now = time.monotonic()
        for callback in [callback for callback, due in self._alarms.items() if due <= now]:
            if self._alarms.pop(callback, None) is not None:  # not taken back by another one
                callback()

    def alarm(self, callback: Callable[[], None], seconds: float | None) -> None:
        """Call back once, so many seconds from now and not when it was said before; None: not any more."""
        self._alarms.pop(callback, None)
        if seconds is not None:
            self._alarms[callback] = time.monotonic() + seconds

    def end(self) -> None:
        """Have `run` return after this round."""
        self._over = True

    def be_in(self, place: Home) -> None:
        """Enter a node's namespaces, unless this process is in them."""
        if self._place is not place:
            self._place = None  # in none for certain, if it fails
            place.enter()
            self._place = place

    def be_in_none(self) -> None:
        """This process has left the namespaces of all nodes, by itself."""
        self._place = None

    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """Call back when the descriptor can be read."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """Call back no more."""
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more."""
        self._epoll.close()

    def close_all(self) -> None:
        """In a forked child: the hosts' lines, captures and other children are none of its business."""
        self.close()
        for fd in self._callbacks:
            os.close(fd)


class Host:
    """A host's line: requests to the agents of its nodes, and what these say; `gone` is called when it hangs up.

    An operation may finish `later`: those that were asked for after it are begun when it has.
    """

    def __init__(self, fd: int | tuple[int, int], loop: Loop, gone: Callable[[], None]) -> None:
        reader, writer = fd if isinstance(fd, tuple) else (fd, fd)
        self._gone = gone
        self.agents: dict[str, Agent] = {}
        self._lines, self._loop = HostLines(reader, writer), loop
        self._requests: deque[dict[str, Any]] = deque()
        self._said: list[Any] = []
        self.number, self.awaited = 0, 0
        """Of the request that is being done, and of one that finishes later."""
        loop.watch(reader, self._serve)
        loop.when_done[reader] = self._speak

    def say(self, message: Any) -> None:
        """Tell the host, in this round of the loop."""
        self._said.append(message)

    def pass_on(self, messages: Iterable[bytes]) -> None:
        """The same with messages that are JSON already."""
        self._said += messages

    def _speak(self) -> None:
        if self._said:
            said, self._said = self._said, []
            texts: list[bytes] = []
            for ready, each in itertools.groupby(said, lambda message: isinstance(message, bytes)):
                messages = [*each]
                texts += messages if ready else [encoded(messages)[1:-1].encode()]
            try:
                self._lines.pass_on(b"[%b]\n" % b",".join(texts))
            except (BrokenPipeError, ConnectionResetError):
                self._gone()  # as in _serve

    def _serve(self) -> None:
        try:
            requests = self._lines.read()
        except ConnectionResetError:
            requests = None
        if requests is None:
            self._gone()
            return
        self._requests += itertools.chain.from_iterable(requests)
        self._work()

    def _work(self) -> None:
        while self._requests and not self.awaited:
            request = self._requests.popleft()
            self.number = request["id"]
            answer = self.agents[request["node"]].answer(request["op"], request["args"])
            if answer is not None and (self.number > 0 or "error" in answer):
                self.say({"id": self.number, **answer})

    def later(self) -> Callable[[Callable[[], Any]], None]:
        """The request that is being done has no answer yet; call what is returned with what makes its result."""
        number = self.awaited = self.number

        def finish(work: Callable[[], Any]) -> None:
            self.awaited = 0
            self.say({"id": number, **outcome_of(work)})
            self._work()

        return finish

    def handed_over(self) -> list[int]:
        """The descriptors that came with the request; the operation closes them."""
        fds, self._lines.handed_over = self._lines.handed_over, []
        return fds

    def close(self) -> None:
        """Have all agents reset, and hang up."""
        for agent in self.agents.values():
            agent.reset()
        del self._loop.when_done[self._lines.reader]
        self._loop.unwatch(self._lines.reader)
        self._lines.close()


class Agent:
    """What operations may use: `fork`, `thread`, `watch`, `alarm`, `children`, and a place for their state."""

    def __init__(self, node: str, host: Host, loop: Loop, home: Home | None = None) -> None:
        self.node = node
        self.state: dict[str, Any] = {}
        self.children: dict[int, Child] = {}
        self._host, self._loop, self._home = host, loop, home
        self._operations: dict[str, Callable[..., Any]] = {}
        host.agents[node] = self

    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """Call back when the descriptor can be read."""
        self._loop.watch(fd, callback)

    def unwatch(self, fd: int) -> None:
        """Call back no more."""
        self._loop.unwatch(fd)

    def alarm(self, callback: Callable[[], None], seconds: float | None) -> None:
        """Call back once, so many seconds from now and not when it was said before; None: not any more."""
        self._loop.alarm(callback, seconds)

    @property
    def neighbours(self) -> Sequence[Neighbour] | None:
        """All that this node can have, if that is known: each has its entry."""
        return None if self._home is None else self._home.neighbours

    def have_own_files(self) -> None:
        """What is written in /etc from now on is this node's alone."""
        if self._home is not None:
            self._home.separate()

    def handed_over(self) -> list[int]:
        """The descriptors that came with this request; the operation closes them."""
        return self._host.handed_over()

    def later(self) -> Callable[[Callable[[], Any]], None]:
        """This operation has no result yet; call what is returned with what makes it. Requests wait for that."""
        return self._host.later()

    def fork(self, work: Callable[[Pipe], None], holds: Holds = "nothing") -> int:
        """Run `work(pipe)` in a forked child and return its number; what it writes to the pipe are its events."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            self._become_child(work, ours, theirs)
        theirs.close()
        return self._adopt(pid, ours, holds)

    def fork_loaded(self, operation: str, libraries: Sequence[str], **arguments: Any) -> int:
        """Run the operation's `child(pipe, **arguments)` in a child of a process that has these libraries loaded: of
        the forkserver whose socket came with the request, or else of one of our own (loaded.py).
        """
        ours, theirs = socket.socketpair()
        given = [socket.socket(fileno=fd) for fd in self.handed_over()]
        server = given[0] if given else loaded.own(libraries)
        hostname, doors = (None, []) if self._home is None else (self.node, self._home.doors())
        request = {
            "operation": operation,
            "arguments": arguments,
            "hostname": hostname,
            "processors": sorted(os.sched_getaffinity(0)),
        }
        try:
            loaded.ask(server, request, [theirs.fileno(), *doors])
        except OSError as error:
            ours.close()
            text = f"the interpreter that has {', '.join(libraries)} loaded has ended: {error}"
            raise OperationFailed(kind="error", message=text) from None
        finally:
            for sock in (theirs, *given):
                sock.close()
        return self._adopt(None, ours, "nothing")

    def thread(self, work: Callable[[Pipe], None], holds: Holds = "nothing") -> int:
        """Run `work(pipe)` in a thread, as `fork` does in a process; it stays in this node, and ends at hang-up."""
        ours, theirs = socket.socketpair()
        pipe = Pipe(theirs)
        return self._adopt(Thread(lambda: _in_thread(work, pipe)), ours, holds)

    def _adopt(self, body: int | Thread | None, ours: socket.socket, holds: Holds) -> int:
        number = self._host.number
        child = self.children[number] = Child(number, body, ours, holds)
        self.watch(ours.fileno(), lambda: self._hear(child))
        return child.number

    def _become_child(self, work: Callable[[Pipe], None], ours: socket.socket, theirs: socket.socket) -> None:
        status = 1
        try:
            kernel.die_with_parent()
            kernel.prctl(kernel.PR_SET_TIMERSLACK, USUAL_SLACK)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            ours.close()
            self._loop.close_all()
            if self._home is not None:
                self._home.settle()
            status = live(work, Pipe(theirs))
        finally:
            os._exit(status)

    def end(self, number: int) -> None:
        """End a child and forget it, and its sockets with it."""
        child = self.children.get(number)
        if child is not None:
            child.kill()
            self._bury(child)

    def stop(self, number: int, *, stop: bool) -> None:
        """Stop a forked child as SIGSTOP does, or have it go on; when this returns, all of its threads have, or may."""
        self.children[number].stop(stop=stop)

    def tell(self, number: int, message: Any) -> None:
        """Pass a message to a child; one that has ended hears nothing."""
        child = self.children.get(number)
        if child is not None:
            child.lines.write(message)

    def release(self) -> None:
        """Have clients close what they hold, and end; one that is in the middle of something is ended."""
        for child in [child for child in self.children.values() if child.holds == "its-own"]:
            child.hang_up()
            if not child.ends_soon():
                child.kill()
            self._bury(child)

    def forget_connections(self) -> None:
        """Have servers close what they have accepted."""
        for child in [child for child in self.children.values() if child.holds == "others"]:
            self.forget(child.number)

    def forget(self, number: int) -> None:
        """Have this one close what it has accepted."""
        child = self.children.get(number)
        if child is not None and child.holds == "others":
            self.tell(number, {"forget": True})
            while number in self.children and not self._hear(child, FORGOTTEN):
                pass

    def _hear(self, child: Child, wanted: bytes | None = None) -> bool:
        """Pass on what a child says, but for an answer that is wanted here; whether that was among it."""
        if child.number not in self.children:
            return False  # ended by a request of the same round
        try:
            lines = child.lines.lines()
        except ConnectionResetError:
            lines = None
        if lines is None:
            self._host.say({"child": child.number, "ended": self._bury(child)})
            return False
        events = [line for line in lines if not child.introduces_itself(line)]
        others = [line for line in events if wanted is None or not line.startswith(wanted)]
        if others:
            self._host.pass_on(b'{"child":%d,"event":%b}' % (child.number, line) for line in others)
        return len(others) < len(events)

    def _bury(self, child: Child) -> int:
        self.unwatch(child.socket.fileno())
        del self.children[child.number]
        return child.await_end()

    def answer(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Do it, in this node: {"result"} or {"error"}; None of what has started a child or finishes later."""
        outcome = outcome_of(lambda: self._do(operation, arguments))
        number = self._host.number
        started = number in self.children or number == self._host.awaited
        return None if started and "error" not in outcome else outcome

    def _do(self, operation: str, arguments: dict[str, Any]) -> Any:
        if self._home is not None:
            self._loop.be_in(self._home)
        return self._operation(operation)(self, **arguments)

    def _operation(self, name: str) -> Callable[..., Any]:
        """`run` of the module of this name."""
        if name not in self._operations:
            self._operations[name] = importlib.import_module(f"chaos.agent.{name}").run
        return self._operations[name]

    def reset(self) -> None:
        """End every child, and forget all state, as if nothing had been asked of this agent yet."""
        for number in list(self.children):
            self.end(number)
        for kept in self.state.values():
            if hasattr(kept, "close"):
                kept.close()
        self.state.clear()


def live(work: Callable[[Pipe], None], pipe: Pipe) -> int:
    """A child's whole life; its exit status."""
    try:
        work(pipe)
    except SystemExit:
        return 0
    except Exception as error:
        pipe.write({"error": describe(error)})
        return 1
    return 0


def _in_thread(work: Callable[[Pipe], None], pipe: Pipe) -> None:
    with contextlib.suppress(OSError):  # nobody hears its last word
        live(work, pipe)
    pipe.close()


def outcome_of(work: Callable[[], Any]) -> dict[str, Any]:
    """Do it: {"result": ...} or {"error": ...}."""
    try:
        return {"result": work()}
    except Exception as error:
        return {"error": describe(error)}


def describe(error: Exception) -> dict[str, Any]:
    """An exception as the host's error object."""
    if isinstance(error, OperationFailed):
        return error.error
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})"
    return {"kind": "error", "message": text}


def encode(data: bytes) -> str:
    """Bytes as JSON carries them."""
    return base64.b64encode(data).decode("ascii")


def main(node: str = "node") -> None:
    """Serve on standard input and output, as a sidecar does."""
    gc.freeze()
    reader, writer = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    loop = Loop()
    host = Host((reader, writer), loop, loop.end)
    Agent(node, host, loop)
    loop.run()
    host.close()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:2])
