"""What PostgreSQL's scenarios need beside a cluster: a streaming standby, a PgBouncer, a small disk, sessions in the
way."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import psycopg2

from signup_harness import free_port, tail, wait_until
from signup_harness.process import spawn

SERVER_USER = "postgres"


def as_server():
    """The prefix of a command that must not run as root and must not outlive us."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid", SERVER_USER, "--regid", SERVER_USER, "--init-groups", "--pdeathsig", "KILL", "--"]


def own_by_server(path):
    if os.geteuid() == 0:
        shutil.chown(path, SERVER_USER, SERVER_USER)


def binaries():
    return sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]


def admin_dsn(postgres, database="signup"):
    """The superuser's connection to the tests' database, over the private socket: it works when nobody else's does."""
    return postgres.admin_dsn.replace("///postgres?", f"///{database}?")


def backends(postgres):
    """Processes of the server that serve workers."""
    rows = postgres.execute(postgres.admin_dsn, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND "
                            "application_name ~ 'signup' AND pid <> pg_backend_pid()")
    return [row[0] for row in rows]


class Session:
    """A second session, in one transaction."""

    def __init__(self, dsn):
        self.connection = psycopg2.connect(dsn)

    def __call__(self, sql, parameters=None):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else None

    def close(self):
        self.connection.close()


class Standby:
    """A hot standby of `primary`, by streaming replication."""

    def __init__(self, primary):
        self.primary, self.folder = primary, pathlib.Path(tempfile.mkdtemp(prefix="signup-pg-standby."))
        own_by_server(self.folder)
        self.port, self.data, self.log = free_port(), self.folder / "data", self.folder / "log"
        self._allow_replication()
        socket = primary.admin_dsn.split("host=")[1].split("&")[0]
        subprocess.run([*as_server(), binaries() / "pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast",
                        "-h", socket, "-p", str(primary.port), "-U", "postgres"], check=True, capture_output=True, cwd="/")
        self.process = spawn([*as_server(), binaries() / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.folder],
                             self.folder / "out", folder="/")
        self.admin_dsn = f"postgresql:///postgres?host={self.folder}&port={self.port}&user=postgres"
        wait_until(self._streams, 30, lambda: f"a standby\n{tail(self.folder / 'out', 20)}", interval=0.1)

    def _allow_replication(self):
        hba = self.primary.folder / "home" / "data" / "pg_hba.conf"
        hba.write_text("local replication all trust\n" + hba.read_text())
        self.primary.execute(self.primary.admin_dsn, "SELECT pg_reload_conf()")

    def _streams(self):
        assert self.process.poll() is None, tail(self.folder / "out", 20)
        try:
            return self.execute("SELECT status FROM pg_stat_wal_receiver WHERE status = 'streaming'")
        except psycopg2.OperationalError:
            return False

    def execute(self, sql):
        return self.primary.execute(self.admin_dsn, sql)

    def cut_off(self):
        """What the primary commits from now on does not come here."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.execute("SELECT pg_reload_conf()")
        wait_until(lambda: not self.execute("SELECT 1 FROM pg_stat_wal_receiver"), 10, "the receiver's end")

    def promote(self):
        assert self.execute("SELECT pg_promote(true, 30)") == [(True,)]

    def dsn(self):
        return self.primary.dsn_through(self.port)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)  # at once
            self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


class PgBouncer:
    """A pool in transaction mode before `postgres`; anybody may come in."""

    def __init__(self, postgres, folder, **settings):
        self.folder, self.port = pathlib.Path(tempfile.mkdtemp(prefix="signup-bouncer.")), free_port()
        own_by_server(self.folder)
        password = postgres.dsn.split(":")[2].split("@")[0]
        self.dsn = postgres.dsn_through(self.port)
        self.admin_dsn = f"postgresql://admin@127.0.0.1:{self.port}/pgbouncer"
        self.log = folder / "pgbouncer.log"
        options = {"listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "", "auth_type": "any",
                   "admin_users": "admin", "pool_mode": "transaction", "default_pool_size": 2, "server_login_retry": 1,
                   **settings}
        self.settings = self.folder / "pgbouncer.ini"
        self.settings.write_text(
            f"[databases]\nsignup = host=127.0.0.1 port={postgres.port} dbname=signup user=signup password={password}\n"
            "[pgbouncer]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
        self.settings.chmod(0o600)
        own_by_server(self.settings)
        self.start()

    def start(self):
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        self.process = spawn([*as_server(), program, self.settings], self.log, folder="/")
        wait_until(self._answers, 10, lambda: f"PgBouncer\n{tail(self.log)}")

    def _answers(self):
        assert self.process.poll() is None, tail(self.log)
        try:
            self.tell("SHOW VERSION")
            return True
        except psycopg2.OperationalError:
            return False

    def tell(self, command):
        connection = psycopg2.connect(self.admin_dsn)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(command)
        finally:
            connection.close()

    def stop(self):
        self.process.terminate()  # at once, without waiting for clients
        self.process.wait(20)

    @staticmethod
    def is_here():
        return bool(shutil.which("pgbouncer") or os.path.exists("/usr/sbin/pgbouncer"))

    def close(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class SmallDisk:
    """A file system of so many bytes that can be filled and freed."""

    def __init__(self, size_mib):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="signup-disk."))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0777", "signup-disk", self.folder], check=True)

    def free(self):
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self, leave=0):
        """Until only `leave` bytes are free; again to take what was freed since."""
        with open(self.folder / "filler", "ab") as file:
            left = self.free() - leave
            if left > 0:
                file.write(b"\0" * left)

    def relieve(self):
        (self.folder / "filler").unlink(missing_ok=True)

    def close(self):
        subprocess.run(["umount", "--lazy", self.folder], check=True)
        self.folder.rmdir()

    @staticmethod
    def is_possible():
        if os.geteuid() != 0:
            return False
        try:
            SmallDisk(1).close()
        except (subprocess.CalledProcessError, OSError):
            return False
        return True
