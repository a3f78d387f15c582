"""The contacts simulator: started, told to misbehave, and asked what it saw."""
import http.client
import json
import shutil
import signal
import subprocess

from .process import find_binary, spawn, tail
from .waiting import free_port, wait_until

KEY = "trk_0123456789abcdefghijklmnopqrstuv"


class ContactsSim:
    """One simulator process. Its ports stay the same over kill() and start()."""

    def __init__(self, folder, key=KEY, tls=False, options=()):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.key, self.options = folder, key, list(map(str, options))
        self.book_path, self.log = folder / "book.ndjson", folder / "contacts-sim.log"
        self.ca_file = None
        self.process, self.ports = None, None
        if tls:
            self.ca_file = folder / "ca.pem"
            self._make_certificate()
            self.options += ["--tls-cert", str(self.ca_file), "--tls-key", str(folder / "ca.key")]
        self.book_from = 0
        self.start()

    def _make_certificate(self):
        subprocess.run([shutil.which("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-days", "30", "-subj", "/CN=contacts simulator", "-addext",
                        "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", self.folder / "ca.key", "-out",
                        self.ca_file], check=True, capture_output=True)

    def start(self):
        """Starts it, on the ports that it had if it was started before. The book is continued."""
        port_file = self.folder / "ports"
        port_file.unlink(missing_ok=True)
        kinds = ["listen", "validation-listen", "control-listen"]
        if self.ca_file:
            kinds = ["listen", "tls-listen", "validation-listen", "validation-tls-listen", "control-listen"]
        ports = self.ports or [free_port() for _ in kinds]
        listen = [f"--{kind}=127.0.0.1:{port}" for kind, port in zip(kinds, ports)]
        self.process = spawn([find_binary("contacts-sim"), *listen, "--port-file", port_file, "--book", self.book_path,
                              "--key", self.key, *self.options], self.log)
        wait_until(lambda: port_file.exists() or self.process.poll() is not None, 20, "the contacts simulator")
        assert self.process.poll() is None, tail(self.log)
        self.ports = [int(line) for line in port_file.read_text().split()]

    @property
    def port(self):
        return self.ports[0]

    def base_url(self, tls=False, port=None):
        return f"{'https' if tls else 'http'}://127.0.0.1:{port or self.ports[1 if tls else 0]}/api/v2"

    def validation_url(self, tls=False, port=None):
        """A host of its own, where nothing but v1 is served; a `port` of the other host serves both."""
        own = self.ports[3 if tls else 2] if self.ca_file else self.ports[1]
        return self.base_url(tls, port or own).replace("/v2", "/v1")

    def kill(self):
        self.process.kill()
        self.process.wait(20)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def is_running(self):
        return self.process.poll() is None

    # --- control ---

    def control(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[-1], timeout=20)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        assert response.status == 200, f"{method} {path}: {response.status} {text!r}"
        return json.loads(text)

    def fresh(self):
        """Forgets contacts, rules and counters; book() starts here."""
        if not self.is_running():
            self.start()
        self.control("POST", "/_sim/reset")
        self.book_from = self.book_path.stat().st_size

    def fault(self, action, **rule):
        """Adds one rule, see contacts-sim --help: fault({"kind": "answer", "status": 500}, count=2)."""
        return self.control("POST", "/_sim/faults", [{"op": "any", **rule, "action": action}])

    def faults(self, rules):
        return self.control("POST", "/_sim/faults", rules)

    def clear_faults(self):
        return self.control("DELETE", "/_sim/faults")

    def latency(self, min_ms, max_ms=None):
        return self.control("POST", "/_sim/latency", {"min_ms": min_ms, "max_ms": min_ms if max_ms is None else max_ms})

    def keys(self, *keys):
        return self.control("POST", "/_sim/keys", list(keys))

    def billing(self, code):
        return self.control("POST", "/_sim/billing", {"code": code})

    def phone(self, phone, **facts):
        """What lookups of this phone find out from now on: phone("+1..", disposition="risky"), and more in contacts-sim
        --help. Without facts: what its last four digits say (9001 to 9007, all others are ok)."""
        return self.control("POST", "/_sim/phone", {"phone": phone, **facts})

    def lists(self, *lists):
        """The account's sending lists from now on; none: every +1 number."""
        return self.control("POST", "/_sim/lists", list(lists))

    def journeys(self, count, list_number=None):
        """Active Welcome Journeys of a list, or of all."""
        return self.control("POST", "/_sim/journeys", {"journeys": count, **({"list": list_number} if list_number else {})})

    def stats(self):
        return self.control("GET", "/_sim/stats")

    def contact(self, phone, list_number):
        return self.control("GET", f"/_sim/contact?phone=%2B{phone[1:]}&list=%2B{list_number[1:]}")

    # --- the book ---

    def book(self, phase=None, **wanted):
        """Lines since fresh(), those of a phase and with these values."""
        if self.is_running():
            self.control("GET", "/_sim/faults")  # whatever came before it is in the file when it is answered
        with open(self.book_path, "rb") as file:
            file.seek(self.book_from)
            lines = [json.loads(line) for line in file if line.endswith(b"\n")]  # the last one may be under way
        return [line for line in lines if phase in (None, line["phase"])
                and all(line.get(name) == value for name, value in wanted.items())]

    def lookups(self, **wanted):
        """Calls that asked the validation host about a phone, in their order."""
        return self.book("received", op="validate", **wanted)

    def effects(self):
        """One line per effect, in the order of the effects."""
        return self.book(applied=True)

    def close(self):
        if self.is_running():
            self.process.terminate()
            status = self.process.wait(20)
            assert status == 0, f"contacts-sim: exit {status}\n{tail(self.log)}"
