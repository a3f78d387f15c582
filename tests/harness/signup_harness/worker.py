"""The real worker: its configuration, its life, and what it says of itself."""
import http.client
import json
import os
import re
import signal

from .process import clean_environment, find_binary, spawn, tail
from .waiting import free_port, wait_until


def merge(base, changes):
    """`base` with `changes` laid over it, section by section."""
    merged = dict(base)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = merge(merged[name], value)
        else:
            merged[name] = value
    return merged


def to_yaml(value, indent=0):
    """Block YAML of dictionaries, lists and scalars; what is within a list is written as JSON, which is YAML, too. Texts
    are quoted: `off` must not become false."""
    pad = "  " * indent
    if isinstance(value, dict):
        lines = []
        for name, item in value.items():
            if isinstance(item, dict) and item:
                lines.append(f"{pad}{json.dumps(name) if not str(name).isidentifier() else name}:")
                lines.append(to_yaml(item, indent + 1))
            else:
                lines.append(f"{pad}{json.dumps(str(name)) if not str(name).isidentifier() else name}: {to_yaml(item)}")
        return "\n".join(lines) if lines else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(json.dumps(item, ensure_ascii=False, default=str) for item in value) + "]"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False)


class Worker:
    """One signup-worker process; stop it and start it again as often as wanted, the log goes on."""

    def __init__(self, folder, config, environment=None, name="worker", arguments=()):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name, self.environment = folder, name, environment or {}
        self.arguments = list(arguments)
        self.log = folder / f"{name}.log"
        self.config_path = folder / f"{name}.yaml"
        self.admin_port = free_port()
        self.process = None
        self.configure(merge(config, {"admin": {"listen": f"127.0.0.1:{self.admin_port}"}}))

    def configure(self, config):
        """Writes the configuration; it counts from the next start."""
        self.config = config
        with open(os.open(self.config_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(to_yaml(config) + "\n")

    def reconfigure(self, **changes):
        self.configure(merge(self.config, changes))

    # --- life ---

    def start(self, ready=True, timeout=60):
        assert not self.is_running(), f"{self.name} runs already"
        self.process = spawn([find_binary("signup-worker"), "run", "--config", self.config_path, *self.arguments],
                             self.log, clean_environment(self.environment))
        if ready:
            self.wait_ready(timeout)
        return self

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout=30):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        """kill -9."""
        self.process.kill()
        return self.process.wait(30)

    def restart(self, **options):
        status = self.stop()
        assert status == 0, f"{self.name}: exit {status}\n{tail(self.log)}"
        return self.start(**options)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def wait_exit(self, timeout=30):
        return self.process.wait(timeout)

    # --- what it says ---

    def get(self, path, timeout=5):
        """(status, text) of an admin endpoint; (0, reason) while nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def is_ready(self):
        return self.get("/readyz")[0] == 200

    def wait_ready(self, timeout=60):
        def ready_or_dead():
            return self.is_ready() or not self.is_running()
        wait_until(ready_or_dead, timeout, lambda: f"{self.name} ready: {self.get('/readyz')}\n{tail(self.log, 20)}")
        assert self.is_running(), f"{self.name} exited with {self.process.returncode}\n{tail(self.log)}"

    def wait_not_ready(self, timeout=30, reason=""):
        """Until /readyz is 503 with `reason` in its text; returns the text."""
        def unready():
            status, text = self.get("/readyz")
            return text if status == 503 and reason in text else None
        return wait_until(unready, timeout, lambda: f"{self.name} not ready for {reason!r}: {self.get('/readyz')}")

    def status(self):
        status, text = self.get("/status")
        assert status == 200, text
        return json.loads(text)

    def metrics(self):
        """{(name, ((label, value), ...)): number} of /metrics."""
        status, text = self.get("/metrics")
        assert status == 200, text
        found = {}
        for line in text.splitlines():
            match = re.fullmatch(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?", line)
            if match and not line.startswith("#"):
                labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")
                found[match[1], tuple(sorted(labels))] = float(match[3])
        return found

    def metric(self, name, **labels):
        """Sum of the samples of `name` that have these labels; None when there is none."""
        values = [value for (found, have), value in self.metrics().items()
                  if found == name and labels.items() <= dict(have).items()]
        return sum(values) if values else None

    def log_text(self):
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def wait_log(self, pattern, timeout=30, after=0):
        """Until a line of the log matches; returns the match. `after` is a length of log_text() to start from."""
        return wait_until(lambda: re.search(pattern, self.log_text()[after:]), timeout,
                          lambda: f"/{pattern}/ in the log of {self.name}\n{tail(self.log, 20)}")

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) * 1024
