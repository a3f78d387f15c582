"""The chaos proxy: every fault that it offers is seen at both ends of a real connection."""
import socket
import threading
import time

import pytest

from signup_harness import ChaosProxy, free_port, wait_until

TIMEOUT_S = 10


class Echo:
    """A server that says back what it hears and notes how each connection ended."""

    def __init__(self, prefix=b""):
        self.prefix, self.heard, self.ends = prefix, bytearray(), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    self.heard += data
                    connection.sendall(self.prefix + data)
                self.ends.append("fin")
            except OSError:
                self.ends.append("rst")

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def echo():
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo):
    with ChaosProxy(echo.port) as proxy:
        yield proxy


def connect(proxy):
    connection = socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S)
    connection.settimeout(TIMEOUT_S)
    return connection


def receive(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def round_trip(connection, data):
    connection.sendall(data)
    return receive(connection, len(data))


def test_passes_all_bytes_and_ends(proxy, echo):
    data = bytes(range(256)) * 20000
    with connect(proxy) as connection:
        threading.Thread(target=connection.sendall, args=(data,), daemon=True).start()
        assert receive(connection, len(data)) == data
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    wait_until(lambda: echo.ends == ["fin"] and proxy.stats()["open"] == 0, TIMEOUT_S, proxy.stats)
    assert proxy.stats()["up_bytes"] == proxy.stats()["down_bytes"] == len(data)


def test_delay_and_rate(proxy):
    with connect(proxy) as connection:
        round_trip(connection, b"warm")
        proxy("delay both 100")
        begun = time.monotonic()
        assert round_trip(connection, b"slow") == b"slow"
        assert 0.2 <= time.monotonic() - begun < 2
        proxy("pass", "rate down 100000")
        begun = time.monotonic()
        assert round_trip(connection, b"x" * 50000) == b"x" * 50000
        assert 0.4 <= time.monotonic() - begun < 3


def test_blackhole_holds_and_releases(proxy, echo):
    with connect(proxy) as connection:
        round_trip(connection, b"warm")
        proxy("blackhole both")
        connection.sendall(b"held")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(TIMEOUT_S)
        assert echo.heard == b"warm"
        proxy("blackhole both off")
        assert receive(connection, 4) == b"held"
        # A peer that leaves meanwhile is not noticed, and must not make the proxy spin.
        proxy("blackhole both")
    assert proxy.stats()["open"] == 1
    proxy("pass")
    wait_until(lambda: proxy.stats()["open"] == 0, TIMEOUT_S, proxy.stats)


def test_drop_loses_one_direction(proxy, echo):
    with connect(proxy) as connection:
        proxy("drop down")
        connection.sendall(b"lost answer")
        wait_until(lambda: echo.heard == b"lost answer", TIMEOUT_S, "the request")
        proxy("drop down off")
        assert round_trip(connection, b"next") == b"next"


def test_reset_after_bytes_as_often_as_said(proxy):
    proxy("rst-after down 6 1")
    with connect(proxy) as connection:
        connection.sendall(b"0123456789")
        assert receive(connection, 6) == b"012345"
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connect(proxy) as connection:
        assert round_trip(connection, b"0123456789") == b"0123456789"
    proxy("rst-after up 0")
    for _ in range(2):
        with connect(proxy) as connection, pytest.raises(ConnectionResetError):
            round_trip(connection, b"x")


def test_corrupts_one_byte(proxy):
    with connect(proxy) as connection:
        round_trip(connection, b"warm")
        proxy("corrupt down 2")
        assert round_trip(connection, b"abcd") == b"ab" + bytes([0xFF - ord("c")]) + b"d"
        assert round_trip(connection, b"abcd") == b"abcd"
    with connect(proxy) as connection:
        assert round_trip(connection, b"abcd") == b"abcd"
    assert proxy.stats()["corrupted"] == 1


def test_half_close(proxy, echo):
    with connect(proxy) as connection:
        round_trip(connection, b"warm")
        assert proxy("half-close down") == "1"
        assert connection.recv(1) == b""
        connection.sendall(b"still heard")
        wait_until(lambda: echo.heard == b"warmstill heard", TIMEOUT_S, "the other direction")


def test_resets_and_closes_what_is_open(proxy, echo):
    with connect(proxy) as connection:
        round_trip(connection, b"warm")
        assert proxy("rst") == "1"
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    wait_until(lambda: echo.ends == ["rst"], TIMEOUT_S, lambda: echo.ends)
    with connect(proxy) as connection:
        round_trip(connection, b"warm")
        assert proxy("close") == "1"
        assert connection.recv(1) == b""
    wait_until(lambda: echo.ends == ["rst", "fin"], TIMEOUT_S, lambda: echo.ends)


def test_refuses_and_listens_on_the_same_port(proxy):
    with connect(proxy) as before:
        proxy("refuse")
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert round_trip(before, b"old ones live") == b"old ones live"
    proxy("listen")
    with connect(proxy) as connection:
        assert round_trip(connection, b"again") == b"again"


def test_target_away_and_elsewhere(proxy):
    proxy(f"target 127.0.0.1:{free_port()}")
    with pytest.raises(ConnectionResetError):  # which may come as early as in the connect
        with connect(proxy) as connection:
            connection.recv(1)
    assert proxy.stats()["connect_failures"] == 1
    other = Echo(prefix=b"other:")
    proxy(f"target 127.0.0.1:{other.port}")
    with connect(proxy) as connection:
        connection.sendall(b"x")
        assert receive(connection, 7) == b"other:x"
    other.close()


def test_bad_commands_change_nothing(proxy):
    for command, complaint in (("delay sideways 5", "up, down or both"), ("delay up -1", "number"), ("rate up", "words"),
                               ("half-close both", "close"), ("drop up on", "off"), ("", "empty"), ("fly", "unknown"),
                               ("delay up 1 2", "words"), ("target nowhere", "HOST:PORT")):
        with pytest.raises(RuntimeError, match=complaint):
            proxy(command)
    with connect(proxy) as connection:
        assert round_trip(connection, b"fine") == b"fine"
