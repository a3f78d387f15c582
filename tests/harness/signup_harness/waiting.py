"""Waiting for conditions, never for time."""
import os
import pathlib
import random
import socket
import tempfile
import threading
import time

_never = threading.Event()


def wait_until(condition, timeout, what, interval=0.02):
    """Polls `condition` until it is true and returns what it returned; fails with `what` after `timeout` seconds.

    `what` may be a function, called only for the failure, to say what was seen in the end.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        _never.wait(interval)


# Ports that were given away within this time are not given again: a server may not have bound its one yet.
PORT_KEPT_S = 300


def _reserve(port):
    """One file for each port, for all processes of this machine; False: somebody was given it a moment ago."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"signup-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / str(port)
    try:
        if time.time() - path.stat().st_mtime < PORT_KEPT_S:
            return False
        path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def free_port():
    """A loopback port that nobody has right now, below those that the kernel hands to outgoing connections: one of
    these could be gone before a server binds it, and for good while that server is down."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if _reserve(port):
                return port
    raise RuntimeError("no free port between 20000 and 32000")
