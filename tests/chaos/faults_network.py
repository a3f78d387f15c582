"""The way to the API: certificates good and bad, a TLS front that shows any of them, a name server that answers, refuses or
keeps silent, and a worker that asks this one."""
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading

from signup_harness import Worker, find_binary
from signup_harness.process import clean_environment, spawn

NAME = "api.signup.test"


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder, name="authority"):
        self.folder, self.count = folder / name, 0
        self.folder.mkdir()
        self.certificate, self.key = self.folder / "ca.pem", self.folder / "ca.key"
        self._openssl("req", "-x509", *self._new_key(self.key), "-days", "30", "-subj", f"/CN={name}", "-out", self.certificate)
        (self.folder / "index.txt").touch()
        (self.folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nnew_certs_dir=.\ndefault_md=sha256\npolicy=any\n"
            "unique_subject=no\ncopy_extensions=copy\nrand_serial=yes\n[any]\n")

    @staticmethod
    def _new_key(path):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path]

    def _openssl(self, *arguments):
        subprocess.run([shutil.which("openssl"), *map(str, arguments)], check=True, capture_output=True, cwd=self.folder)

    def context(self, names=f"DNS:{NAME},IP:127.0.0.1", expired=False):
        """A new key and a certificate for it, as a server's context. The names are those of subjectAltName."""
        self.count += 1
        key, request, leaf = (self.folder / f"{self.count}.{kind}" for kind in ("key", "csr", "pem"))
        self._openssl("req", *self._new_key(key), "-subj", "/", "-addext", f"subjectAltName={names}", "-out", request)
        start, end = ("20240101000000Z", "20240201000000Z") if expired else ("20240101000000Z", "20991231000000Z")
        self._openssl("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", self.certificate, "-keyfile", self.key, "-in",
                      request, "-out", leaf, "-startdate", start, "-enddate", end)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(leaf, key)
        return context


class TlsFront:
    """Ends TLS before a plain server. `context` may be replaced at any time; None: handshakes are never answered."""

    def __init__(self, target_port, context, host="127.0.0.1", port=0):
        self.target_port, self.context, self.open, self.lock = target_port, context, set(), threading.Lock()
        self.handshakes, self.over = 0, False
        self.listener = socket.create_server((host, port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.over:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with self.lock:
            self.open.add(client)
        if self.context is None:
            return  # kept until drop()
        try:
            client.settimeout(10)
            secure = self.context.wrap_socket(client, server_side=True)
            secure.settimeout(None)
            self.handshakes += 1
            server = socket.create_connection(("127.0.0.1", self.target_port))
        except (OSError, ssl.SSLError):
            client.close()
            return
        with self.lock:
            self.open |= {secure, server}
        threading.Thread(target=self._pump, args=(server, secure), daemon=True).start()
        self._pump(secure, server)

    @staticmethod
    def _pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except (OSError, ValueError):
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def use(self, context):
        """From now on this certificate, also for those who are connected: they have to come again."""
        self.context = context
        self.drop()

    def drop(self):
        with self.lock:
            dropped, self.open = self.open, set()
        for one in dropped:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def close(self):
        self.over = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.drop()


class NameServer:
    """Answers for NAME on port 53 of a loopback address of its own. `address`: what it says; "" there is no such name, None
    keeps silent."""

    def __init__(self, address=None):
        self.address, self.asked = address, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.host = f"127.53.{os.getpid() % 250}.{threading.get_ident() % 250 + 1}"
        self.socket.bind((self.host, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                query, client = self.socket.recvfrom(4096)
            except OSError:
                return
            self.asked += 1
            if self.address is not None and len(query) > 12:
                self.socket.sendto(self._answer(query), client)

    def _answer(self, query):
        end = query.index(b"\0", 12) + 5
        question, kind = query[12:end], struct.unpack(">H", query[end - 4:end - 2])[0]
        found = self.address and kind == 1  # A; there is no AAAA
        code = 0 if self.address else 3
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 1 if found else 0, 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(self.address) if found else b""
        return head + question + record

    def close(self):
        self.socket.close()


class WorkerOfNameServer(Worker):
    """A worker whose /etc/resolv.conf names `server`: it lives in a mount namespace of its own."""

    server = None

    @classmethod
    def of(cls, server):
        return type(cls.__name__, (cls,), {"server": server})

    def start(self, ready=True, timeout=60):
        assert not self.is_running()
        resolver = self.folder / "resolv.conf"
        resolver.write_text(f"nameserver {self.server.host}\n")
        house = 'mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@"'
        self.process = spawn(["unshare", "--mount", "--propagation", "private", "sh", "-c", house, resolver,
                              find_binary("signup-worker"), "run", "--config", self.config_path], self.log,
                             clean_environment(self.environment))
        if ready:
            self.wait_ready(timeout)
        return self


def may_mount():
    """Whether this user may make a mount namespace and a server on port 53."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0
