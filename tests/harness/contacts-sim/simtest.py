"""Starts a contacts simulator for the tests and speaks to it: raw bytes for what must be seen raw."""
import http.client
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time

KEY = "trk_0123456789abcdefghijklmnopqrstuv"
LIST = "+18005550100"
UPSERT = "/api/v2/contacts"
VALIDATE = "/api/v1/phone/validate"
DEADLINE_S = 20


def binary():
    path = os.environ.get("CONTACTS_SIM")
    assert path and os.access(path, os.X_OK), "set CONTACTS_SIM to the contacts-sim executable"
    return path


class Answer:
    """A parsed response; `json` is None where the body is no JSON."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        try:
            self.json = json.loads(body)
        except ValueError:
            self.json = None

    @property
    def code(self):
        return self.json.get("code")


class Sim:
    def __init__(self, folder, *options, book=True):
        self.book_path = os.path.join(folder, "book.ndjson")
        port_file = os.path.join(folder, "ports")
        command = [binary(), "--port-file", port_file, "--control-listen", "127.0.0.1:0", *options]
        if book:
            command += ["--book", self.book_path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.greeting = self.process.stdout.readline()
        assert self.greeting.startswith("listening on "), self.process.stderr.read()
        while "control on" not in self.process.stdout.readline():
            pass
        until = time.monotonic() + DEADLINE_S
        while not os.path.exists(port_file):
            assert time.monotonic() < until
        with open(port_file, encoding="ascii") as file:
            self.ports = [int(line) for line in file]
        self.port = self.ports[0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        errors = self.process.communicate(timeout=DEADLINE_S)[1]
        assert self.process.returncode == 0, errors
        assert errors == "", errors

    def kill(self):
        self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)

    # ---- control
    def control(self, method, path, body=None, status=200, port=None):
        conn = http.client.HTTPConnection("127.0.0.1", port or self.ports[-1], timeout=DEADLINE_S)
        conn.request(method, path, None if body is None else json.dumps(body))
        response = conn.getresponse()
        answer = json.loads(response.read())
        conn.close()
        assert response.status == status, answer
        return answer

    def fault(self, action, **rule):
        return self.control("POST", "/_sim/faults", [{"op": "any", **rule, "action": action}])

    def stats(self):
        return self.control("GET", "/_sim/stats")

    def contact(self, phone, list_number=LIST, status=200):
        return self.control("GET", f"/_sim/contact?phone=%2B{phone[1:]}&list=%2B{list_number[1:]}",
                            status=status)

    # ---- the book
    def book(self, phase=None, **wanted):
        """Lines so far; the control call before the reading is the barrier."""
        self.control("GET", "/_sim/faults")
        with open(self.book_path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]  # the last one may be under way
        return [line for line in lines if phase in (None, line["phase"])
                and all(line.get(name) == value for name, value in wanted.items())]

    def await_book(self, phase, **wanted):
        until = time.monotonic() + DEADLINE_S
        while True:
            lines = self.book(phase, **wanted)
            if lines:
                return lines
            assert time.monotonic() < until, f"no {phase} {wanted} in the book"

    # ---- calls
    def request(self, method, path, body=None, headers=None):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        sent = {"X-Api-Key": KEY, "Content-Type": "application/json"}
        sent.update(headers or {})
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        conn.request(method, path, data, {name: value for name, value in sent.items() if value is not None})
        response = conn.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        conn.close()
        return answer

    def upsert(self, phone, **fields):
        return self.request("POST", UPSERT, {"phone_number": phone, "list_number": LIST, **fields})

    def validate(self, phone, **fields):
        return self.request("POST", VALIDATE, {"phone": phone, **fields})


def contact_body(phone, **fields):
    return json.dumps({"phone_number": phone, "list_number": LIST, **fields}).encode()


def request_bytes(phone, extra="", **fields):
    body = contact_body(phone, **fields)
    head = (f"POST {UPSERT} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Type: application/json\r\n"
            f"{extra}Content-Length: {len(body)}\r\n\r\n")
    return head.encode() + body


class Raw:
    """A client socket that shows every byte, FIN and RST."""

    def __init__(self, port, wrap=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        if wrap:
            self.socket = wrap(self.socket)
        self.got = b""

    def send(self, data):
        self.socket.sendall(data)
        return self

    def read_until(self, enough):
        """Reads until `enough(bytes)`; fails at an end before that."""
        while not enough(self.got):
            data = self.socket.recv(65536)
            assert data, f"end after {self.got[:300]!r}"
            self.got += data
        return self.got

    def read_answer(self):
        """One response with Content-Length, taken off the front."""
        self.read_until(lambda got: b"\r\n\r\n" in got)
        head, rest = self.got.split(b"\r\n\r\n", 1)
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
        self.read_until(lambda got: len(got) >= len(head) + 4 + length)
        rest = self.got[len(head) + 4:]
        self.got = rest[length:]
        return head, rest[:length]

    def read_end(self, most=1 << 30):
        """All bytes to the end: ("fin" or "rst", bytes)."""
        try:
            while len(self.got) < most:
                data = self.socket.recv(65536)
                if not data:
                    return "fin", self.got
                self.got += data
        except ConnectionResetError:
            return "rst", self.got
        return "more", self.got

    def silent_for(self, seconds):
        return not select.select([self.socket], [], [], seconds)[0]

    def close(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
