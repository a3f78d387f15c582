"""The chaos proxy: a TCP link that can be told to misbehave."""
import json
import os
import shutil
import tempfile

from .process import control_line, find_binary, spawn, tail
from .waiting import free_port, wait_until


class ChaosProxy:
    """Listens on `port` (None: a free one) and forwards to 127.0.0.1:`target_port`."""

    def __init__(self, target_port, port=None):
        program = find_binary("chaos-proxy")
        # A socket's path must be short, which a test's folder need not be.
        self.folder = tempfile.mkdtemp(prefix="signup-chaos-")
        self.socket = os.path.join(self.folder, "control")
        self.log = os.path.join(self.folder, "log")
        port_file = os.path.join(self.folder, "port")
        self.process = spawn([program, "--listen", f"127.0.0.1:{port or free_port()}", "--target",
                              f"127.0.0.1:{target_port}", "--control", self.socket, "--port-file", port_file], self.log)
        wait_until(lambda: os.path.exists(port_file) or self.process.poll() is not None, 20, "the chaos proxy")
        assert self.process.poll() is None, tail(self.log)
        with open(port_file, encoding="ascii") as file:
            self.port = int(file.read())

    def __call__(self, *commands):
        """Says the commands, see chaos-proxy --help: proxy("delay both 50", "rst"). Returns the last answer."""
        answer = ""
        for command in commands:
            answer = control_line(self.socket, command)
        return answer

    def stats(self):
        return json.loads(self("stats"))

    def close(self):
        if self.process.poll() is None:
            self("quit")
            status = self.process.wait(20)
            assert status == 0, f"chaos-proxy: exit {status}\n{tail(self.log)}"
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
