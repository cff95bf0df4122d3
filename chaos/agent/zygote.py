"""The session's process: it forks the processes of labs, so that one costs a fork and not the start of an interpreter.

    host process --(socket)-- keeper, which waits
                               +- zygote: pid 1 of the session's pid namespace
                                   +- lab: pid 1 of its own pid namespace (lab.py), the agent of each node (serve.py)

Whoever dies takes everything below along, by SIGKILL from the kernel: the keeper ends when the host process has
ended (a pidfd tells, whatever thread started it and whoever inherited the socket), the zygote has the keeper as its
PR_SET_PDEATHSIG, and the end of a pid namespace's pid 1 is the end of the namespace. As an ordinary user the session
lives in a user namespace of its own; root needs none.

One request is one message on a SOCK_SEQPACKET socket, with the socket of the new process (SCM_RIGHTS): `lab`, or
{"python": PATH, "libraries": [...]} for a forkserver (forkserver.py), an interpreter with site-packages.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from chaos.agent import kernel, lab, loaded
from chaos.agent.attempt import environment
from chaos.agent.netlink import Netlink

LAB = b"lab"


def session(control: socket.socket, host: int) -> None:
    """Become the keeper of a session for the host process with this pid; returns when that has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's to act upon
    try:
        watched = os.pidfd_open(host)
    except ProcessLookupError:
        return  # it has ended already
    enter_namespaces()
    ready, told = os.pipe()
    zygote = os.fork()
    if zygote == 0:
        os.close(ready)
        kernel.die_with_parent()
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.name_process("zygote")
        os.write(told, b"+")
        serve(control)
    os.close(told)
    control.close()
    if os.read(ready, 1):
        zygote_fd = os.pidfd_open(zygote)
        select.select([watched, zygote_fd], [], [])
        os.kill(zygote, signal.SIGKILL)
        os.waitpid(zygote, 0)  # no zombie that would hold the pid namespace until some init reaps it
    os._exit(0)


def enter_namespaces() -> None:
    """New mount, pid and network namespaces; as an ordinary user in a new user namespace, where we are root."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET)
        return
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def serve(control: socket.socket) -> None:
    """Fork a process for each request; reap those that have ended; end with the host's socket."""
    for name in sorted(os.listdir(os.path.dirname(__file__))):
        if name.endswith(".py") and not name.startswith("__"):
            importlib.import_module(f"chaos.agent.{name[:-3]}")
    importlib.import_module("encodings.idna")  # getaddrinfo() of a name needs it, 2 ms in each child otherwise
    gc.collect()
    gc.freeze()  # what is loaded now is shared by all labs; a collection would copy its pages
    own_pid_ns = os.open("/proc/self/ns/pid_for_children", os.O_RDONLY)
    wake, woken = kernel.wake_on_child()
    control.send(b"ready")
    while True:
        readable, _, _ = select.select([control, wake], [], [])
        if wake in readable:
            wake.recv(4096)
            kernel.reap()
        if control in readable:
            request = lab.request(control)
            if request is None:
                os._exit(0)  # the host's end is this process's end
            message, (fd,) = request
            if message == LAB:
                _fork_lab(fd, own_pid_ns, (control, wake, woken))
            else:
                _start_forkserver(fd, json.loads(message))
            os.close(fd)


def _fork_lab(fd: int, own_pid_ns: int, ours: tuple[socket.socket, ...]) -> None:
    kernel.unshare(kernel.CLONE_NEWPID)
    try:
        if os.fork() == 0:
            _be_another()
            for sock in ours:
                sock.close()
            os.close(own_pid_ns)
            lab.start(socket.socket(fileno=fd))
    finally:
        kernel.setns(own_pid_ns, kernel.CLONE_NEWPID)


def _start_forkserver(fd: int, asked: Mapping[str, Any]) -> None:
    """In a network namespace with a loopback device, for libraries that look whether there is one."""
    if os.fork() == 0:
        _be_another()
        kernel.unshare(kernel.CLONE_NEWNET)
        with Netlink() as netlink:
            netlink.set_up("lo")
        os.set_inheritable(fd, True)
        argv = loaded.command(asked["python"], fd, asked["libraries"])
        os.execve(argv[0], argv, environment(os.environ))


def _be_another() -> None:
    """In a child: not the zygote any more."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kernel.die_with_parent()


def main() -> None:
    """Run as `python -c ... FD HOST_PID`: the session's socket was inherited as this descriptor."""
    control = socket.socket(fileno=int(sys.argv[1]))
    try:
        session(control, int(sys.argv[2]))
    except OSError as error:
        control.send(json.dumps({"errno": error.errno, "message": str(error)}).encode())
        sys.exit(1)
