"""Processes that tests start: on free loopback ports; they end with the tests, even after a SIGKILL."""

from __future__ import annotations

import ctypes
import ipaddress
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

_PR_SET_PDEATHSIG = 1
_LISTEN = "0A"
_LIBC = ctypes.CDLL(None)


def find_free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listened on a moment ago."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def start_python(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    """Start this interpreter; the child is killed when the thread that started it ends."""
    return subprocess.Popen([sys.executable, *arguments], preexec_fn=die_with_parent, **options)


def use_fork_server(*preloaded: str) -> ForkServerContext:
    """A context whose processes inherit nothing but modules: as a spawned one, without the seconds of its imports.

    The server stays for whoever wants the same modules next, and ends when others are wanted, or with this process.
    """
    server = forkserver._forkserver
    if server._forkserver_pid is not None and server._preload_modules != list(preloaded):
        os.kill(server._forkserver_pid, signal.SIGKILL)  # by itself it ends when the last of its processes has
        server._stop()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
    return context


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and collect it."""
    process.kill()
    process.wait()


def wait_until(holds: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Return once `holds()` is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {seconds} s")
        time.sleep(0.02)


def answers(port: int) -> bool:
    """Whether somebody listens on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def is_running(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    return _state_of(pid) not in ("", "Z")


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal."""
    return _state_of(pid) == "T"


def _state_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def command_line(pid: int) -> str:
    """A process's arguments, joined by spaces; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(pid: int) -> list[int]:
    """All processes below one, itself not included."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    front = [pid]
    while front:
        front = [child for parent in front for child in children.get(parent, [])]
        found += front
    return found


def die_with_parent() -> None:
    """Let this process be killed when the thread that started it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def listening_addresses(pids: set[int]) -> set[str]:
    """IP addresses on which these processes accept TCP connections, as the kernel lists them."""
    sockets = set()
    for pid in pids:
        with suppress(OSError):  # it has ended
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    sockets.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    found = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as file:
            lines = [line.split() for line in file][1:]
        found |= {
            _read_address(local.partition(":")[0])
            for _, local, _, state, _, _, _, _, _, inode, *_ in lines
            if state == _LISTEN and f"socket:[{inode}]" in sockets
        }
    return found


def _read_address(digits: str) -> str:
    """An address of `/proc/net/tcp`: words of 32 bits, each in this machine's order of bytes."""
    words = [bytes.fromhex(digits[start : start + 8]) for start in range(0, len(digits), 8)]
    address = ipaddress.ip_address(b"".join(word[:: -1 if sys.byteorder == "little" else 1] for word in words))
    return str(getattr(address, "ipv4_mapped", None) or address)
