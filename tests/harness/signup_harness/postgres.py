"""A private PostgreSQL cluster, and fresh databases in it."""
import os
import uuid

import psycopg2

from .process import HARNESS_DIR, run_script, tail


class PostgresNode:
    script = HARNESS_DIR / "postgres" / "postgres-node"

    def __init__(self, folder, fsync=True, owned=True, settings=()):
        self.folder = folder
        self.arguments = [] if fsync else ["--no-fsync"]
        self.arguments += ["--owner", os.getpid()] if owned else []
        for name, value in dict(settings).items():
            self.arguments += ["--set", f"{name}={value}"]
        self.start()
        self.admin_dsn = run_script(self.script, "admin-dsn", "--dir", folder)

    def start(self):
        self.dsn = run_script(self.script, "start", "--dir", self.folder, *self.arguments)

    def stop(self, mode="fast"):
        run_script(self.script, "stop", "--dir", self.folder, "--mode", mode)

    def restart(self, mode="fast"):
        run_script(self.script, "restart", "--dir", self.folder, "--mode", mode)

    def kill(self):
        """kill -9 of the server and all of its processes."""
        run_script(self.script, "kill", "--dir", self.folder)

    @property
    def port(self):
        return int((self.folder / "port").read_text())

    def pid(self):
        with open(self.folder / "home" / "data" / "postmaster.pid", encoding="ascii") as file:
            return int(file.readline())

    def log_path(self):
        return self.folder / "home" / "log"

    def log_tail(self):
        return tail(self.log_path(), 30)

    def create_database(self):
        """A fresh database that the role `signup` owns; returns its DSN over TCP."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        self.execute(self.dsn, f"CREATE DATABASE {name}")
        return self.dsn.rsplit("/", 1)[0] + "/" + name

    def dsn_through(self, port, dsn=None):
        """The same database, reached at another port: a proxy's."""
        return (dsn or self.dsn).replace(f":{self.port}/", f":{port}/")

    @staticmethod
    def execute(dsn, sql, parameters=None):
        """Runs one statement outside of a transaction block; returns its rows, if it has any."""
        connection = psycopg2.connect(dsn)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def close(self):
        run_script(self.script, "destroy", "--dir", self.folder)
