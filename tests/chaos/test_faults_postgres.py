"""PostgreSQL misbehaves, rows 26 to 35 of the fault matrix: no claim, no call; whatever was under way is known afterwards;
nobody is dead of it, nothing is lost, and the rate is back within seconds."""
import os
import signal
import subprocess
import threading
import time

import confluent_kafka
import psycopg2
import psycopg2.errors

from faults_crew import crew, lasts, scenario  # pylint: disable=unused-import
from faults_database import PgBouncer, Session, SmallDisk, Standby, admin_dsn, backends, own_by_server
from faults_stage import IN_FLIGHT
from results import not_here
from signup_harness import Ledger, PostgresNode, tail, wait_until
from signups import Suspended, calls, family

SHARED = 2.0  # this machine is shared: a bound is held against so many times itself
LEASE_S = 15  # limits.lease
AWAY = "PostgreSQL is away"
QUICK = {"timeout": "1s", "connect_timeout": "1s"}


def own_cluster(servers):
    """The cluster that scenarios of the lane stop, kill and suspend, one after the other."""
    return PostgresNode(servers.folder / "postgres-of-faults")


def on_own_cluster(**options):
    return scenario(lane="postgres", server=own_cluster, postgres=lambda stage: stage.shared, **options)


def ask_as_admin(stage):
    """The test's own questions come in where nobody else does."""
    stage.ledger.dsn = admin_dsn(stage.postgres)


def back_again(stage, found, seen, since, rate, bound):
    """Recovery, counted from when the worker says that PostgreSQL is back: until then calls that were claimed before may
    still have had effects. `seen` is how much of its log there was before the fault."""
    worker = stage.made[0]
    counted = stage.said_at(worker, "PostgreSQL is back", after=seen)
    return stage.recovered(found, since, rate, bound, SHARED, counted)


def wait_answers(stage):
    """Until the server takes connections again."""
    def answers():
        try:
            return stage.postgres.execute(stage.postgres.admin_dsn, "SELECT 1")
        except psycopg2.OperationalError:
            return None
    wait_until(answers, 30, "a server that answers")


def no_calls_while(stage, seconds):
    """Calls under way end; then the book stays as it is for so long."""
    wait_until(lambda: stage.made[0].metric("signup_calls_in_flight") == 0, 10, "the calls under way end")
    before = len(calls(stage.sim))
    stage.outage(seconds)
    assert len(calls(stage.sim)) == before, "called without a durable record"


# --- it goes and comes back ---

@on_own_cluster()
def test_restarts(stage):
    """Fast and immediate restart, kill -9 of the backend (which takes all others with it), in one stream."""
    with stage.row(26, "PostgreSQL restarted (fast, immediate), backend killed", "pg_ctl restart; kill -9") as found:
        ask_as_admin(stage)
        worker = stage.worker(postgres=QUICK)
        stage.stream(2600)
        rate = stage.wait_steady()
        for name, fault in (("fast", lambda: stage.postgres.restart("fast")),
                            ("immediate", lambda: stage.postgres.restart("immediate")),
                            ("backend", lambda: os.kill(backends(stage.postgres)[0], signal.SIGKILL))):
            seen = len(worker.log_text())
            fault()
            worker.wait_log(AWAY, after=seen)
            wait_answers(stage)
            since = time.time()
            found.note(f"{name} {back_again(stage, found, seen, since, rate, 5):.1f} s")
        assert len(stage.lines(worker, AWAY)) == len(stage.lines(worker, "PostgreSQL is back")) == 3
        stage.stream_ends()
        stage.drained()


@on_own_cluster()
def test_away_for_long(stage):
    """Away while more and more events come: nobody is called without a claim, memory bounded, back within 10 s."""
    seconds = lasts(4, 600)
    with stage.row(27, "PostgreSQL down for long", f"pg_ctl stop for {seconds} s with traffic") as found:
        ask_as_admin(stage)
        worker = stage.worker(postgres=QUICK)
        stage.stream(1500)
        rate = stage.wait_steady()
        stage.postgres.stop("fast")
        try:
            stage.sees(worker, "postgres: ", line=AWAY)
            server = next(one for one in worker.status()["servers"] if one["name"] == "postgres")
            assert not server["connected"] and server["since"] and server["why"], server
            stage.produce(3000, contacts=300, first=len(stage.produced))
            no_calls_while(stage, seconds)
        finally:
            stage.postgres.start()
        back_again(stage, found, 0, time.time(), rate, 10)
        stage.stream_ends()
        stage.drained()
        assert len(stage.lines(worker, AWAY)) == 1


@on_own_cluster()
def test_suspended(stage):
    """The backend, then the whole server stops without a word: the worker's own deadline ends the wait."""
    with stage.row(28, "PostgreSQL suspended (backend; postmaster and all)", "SIGSTOP") as found:
        ask_as_admin(stage)
        worker = stage.worker(postgres=QUICK)
        stage.stream(2400)
        rate = stage.wait_steady()
        for name, pids in (("backend", backends(stage.postgres)[:1]), ("everything", None)):
            seen = len(worker.log_text())
            with Suspended(*(pids or family(stage.postgres.pid()))):
                began = time.time()
                worker.wait_log(AWAY, after=seen)
                fired = time.time() - began
                assert fired < (1 + 2) * SHARED, fired
                if not pids:
                    worker.wait_not_ready(reason="postgres: ")
                    stage.outage(lasts(2, 60))
            since = time.time() if not pids else began + fired
            took = back_again(stage, found, seen, since, rate, 5)
            found.note(f"{name}: deadline after {fired:.1f} s, well {took:.1f} s later")
        stage.stream_ends()
        stage.drained()


# --- failover ---

def pair(stage, synchronous):
    """A primary and its standby, and the part of a worker's configuration that names both."""
    primary = stage.closes(PostgresNode(stage.folder / "primary"))
    standby = stage.closes(Standby(primary))
    if synchronous:
        primary.execute(primary.admin_dsn, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute(primary.admin_dsn, "SELECT pg_reload_conf()")
    both = primary.dsn.replace(f":{primary.port}/", f":{primary.port},127.0.0.1:{standby.port}/")
    stage.ledger.dsn = primary.dsn
    return primary, standby, {**QUICK, "dsn": both + "?target_session_attrs=read-write"}


@scenario()
def test_failover(stage):
    """The primary turns read-only in the middle of the stream and its synchronous standby is promoted: the worker leaves
    the one that refuses to write and finds the other; not one commit is lost."""
    with stage.row(29, "failover to the standby, the old primary read-only", "streaming replication, synchronous; "
             "default_transaction_read_only, pg_promote; target_session_attrs=read-write") as found:
        primary, standby, config = pair(stage, True)
        worker = stage.worker(postgres=config)
        stage.stream(1600)
        rate = stage.wait_steady()
        primary.execute(primary.admin_dsn, "ALTER SYSTEM SET default_transaction_read_only = on")
        primary.execute(primary.admin_dsn, "SELECT pg_reload_conf()")
        stage.sees(worker, "postgres: ", line=AWAY)
        stage.ledger.dsn = standby.dsn()
        standby.promote()
        back_again(stage, found, 0, time.time(), rate, 5)
        stage.stream_ends()
        stage.drained()


@scenario(watch=False)
def test_failover_that_forgets(stage):
    """An asynchronous standby that is behind is promoted: rows that were confirmed are gone. The worker says so and goes on;
    read again from the topic the forgotten events get their rows back, and nobody is enrolled twice by it. (The events that
    ask to be enrolled whatever was before are in the standby: of one whose row is gone nobody can know that it was done.)"""
    with stage.row(30, "asynchronous failover that loses the last commits", "standby cut off, primary killed, standby promoted; "
             "then the group's offsets set back") as found:
        primary, standby, config = pair(stage, False)
        worker = stage.worker(postgres=config)
        firsts = stage.produce(140)
        there = Ledger(standby.dsn(), stage.ledger.schema)
        wait_until(lambda: there.states() == {"accepted": len(firsts)}, 30, "the first events of all contacts in the standby")
        stage.stream(1400, firsts)
        rate = stage.wait_steady()
        standby.cut_off()
        before = len(stage.effects.read())
        wait_until(lambda: len(stage.effects.read()) >= before + 150, 20, "commits that the standby does not see")
        primary.kill()
        stage.ledger.dsn = standby.dsn()
        standby.promote()
        back_again(stage, found, 0, time.time(), rate, LEASE_S + 5)  # an outcome that is forgotten leaves a live claim
        worker.wait_log("the ledger has forgotten records that it had confirmed")
        assert worker.metric("signup_ledger_forgotten_total") == 1
        stage.stream_ends()
        wait_until(lambda: stage.offsets.lag() == 0, 30, "the end of the topic")
        assert worker.stop() == 0
        # Rows that are gone, and such as have forgotten their outcome.
        forgotten = len(stage.produced) - stage.accepted()
        assert forgotten >= 50, f"{forgotten} rows lost: the standby was not behind"
        stage.nobody_dead()
        calls_before = len(calls(stage.sim))
        set_back(stage)
        worker.start()
        stage.drained(order=False)
        repeated = len(calls(stage.sim)) - calls_before
        assert repeated == forgotten, (repeated, forgotten)
        found.note(f"{forgotten} confirmed rows forgotten, told by the worker, brought back by reading the topic again, 0 enrolled twice")


def set_back(stage):
    """The group begins the topic anew."""
    reader = confluent_kafka.Consumer({"bootstrap.servers": stage.broker.bootstrap, "group.id": stage.group,
                                       "enable.auto.commit": False})
    begin = [confluent_kafka.TopicPartition(stage.source.name, number, 0) for number in range(stage.source.partitions)]
    reader.commit(offsets=begin, asynchronous=False)
    reader.close()


# --- no room ---

@scenario()
def test_disk_full(stage):
    """The data's disk is full (a tablespace on a small file system): intake waits, nobody is dead, and it goes on once
    there is room."""
    fault = "disk of the data full"
    if not SmallDisk.is_possible():
        not_here(31, fault, "needs the right to mount")
        return
    with stage.row(31, fault, "database in a tablespace on a tmpfs of 28 MiB, filled") as found:
        disk = stage.closes(SmallDisk(28))
        with Tablespace(stage, disk):
            worker = stage.worker(postgres={**QUICK, "dsn": stage.ledger.dsn})
            stage.stream(2400)
            rate = stage.wait_steady()
            disk.fill(leave=256 << 10)
            stage.sees(worker, "postgres: ", line=AWAY)
            no_calls_while(stage, lasts(2, 60))
            stage.nobody_dead()
            why = next(one["why"] for one in worker.status()["servers"] if one["name"] == "postgres")
            since = time.time()
            disk.relieve()
            back_again(stage, found, 0, since, rate, 10)
            stage.stream_ends()
            stage.drained()
            assert worker.stop() == 0
            found.note(f"/status: {why}")


class Tablespace:
    """A database of the stage's ledger in a tablespace on that disk."""

    def __init__(self, stage, disk):
        self.stage, self.place, self.name = stage, disk.folder / "data", f"small_{stage.ledger.schema}"

    def __enter__(self):
        postgres = self.stage.postgres
        self.place.mkdir()
        own_by_server(self.place)
        postgres.execute(postgres.admin_dsn, f"CREATE TABLESPACE {self.name} LOCATION '{self.place}'")
        postgres.execute(postgres.admin_dsn, f"CREATE DATABASE {self.name} OWNER signup TABLESPACE {self.name} "
                         "STRATEGY file_copy")
        self.stage.ledger.dsn = postgres.dsn.rsplit("/", 1)[0] + "/" + self.name

    def __exit__(self, *_):
        postgres = self.stage.postgres
        for worker in self.stage.made:
            if worker.is_running():
                worker.kill()
        self.stage.offsets.stop()
        postgres.execute(postgres.admin_dsn, f"DROP DATABASE {self.name} WITH (FORCE)")
        postgres.execute(postgres.admin_dsn, f"DROP TABLESPACE {self.name}")


@scenario()
def test_wal_full(stage):
    """The disk of the write-ahead log is full: PostgreSQL panics and stays away until there is room."""
    fault = "disk of pg_wal full"
    if not SmallDisk.is_possible():
        not_here(31, fault, "needs the right to mount")
        return
    with stage.row(31, fault, "pg_wal on a tmpfs of 64 MiB, filled: PANIC") as found:
        disk = stage.closes(SmallDisk(64))
        node = stage.closes(PostgresNode(stage.folder / "postgres", settings={"max_wal_size": "48MB", "min_wal_size": "32MB",
                                                                              "wal_recycle": "off"}))
        node.stop()
        wal = node.folder / "home" / "data" / "pg_wal"
        subprocess.run(["cp", "-a", wal, disk.folder / "pg_wal"], check=True)
        subprocess.run(["rm", "-rf", wal], check=True)
        wal.symlink_to(disk.folder / "pg_wal")
        node.start()
        stage.ledger.dsn = node.dsn
        worker = stage.worker(postgres={**QUICK, "dsn": node.dsn})
        stage.stream(1600)
        rate = stage.wait_steady()
        disk.fill()

        def panicked():
            disk.fill()
            try:
                node.execute(node.admin_dsn, "SELECT pg_switch_wal()")
                node.execute(node.admin_dsn, "CREATE TABLE IF NOT EXISTS ballast AS SELECT repeat('x', 500) "
                             "FROM generate_series(1, 20000)")
                node.execute(node.admin_dsn, "DROP TABLE IF EXISTS ballast")
            except psycopg2.Error:
                pass
            return "PANIC" in tail(node.log_path(), 200)
        wait_until(panicked, 30, "PANIC of the server", interval=0.05)
        stage.sees(worker, "postgres: ", line=AWAY)
        no_calls_while(stage, lasts(2, 60))
        disk.relieve()
        node.start()
        back_again(stage, found, 0, time.time(), rate, 10)
        stage.stream_ends()
        stage.drained()
        assert worker.stop() == 0


# --- others in the way ---

@scenario()
def test_locks(stage):
    """Somebody locks the table for longer than lock_timeout; somebody locks rows in the opposite order, and the worker is
    the one whom PostgreSQL picks to end the deadlock: both are retried, nothing is lost or done twice."""
    with stage.row(32, "lock timeout, deadlock", "a second session locks the table; then two rows against the order") as found:
        stage.worker(postgres={"timeout": "5s"})  # lock_timeout 2 s
        stage.stream(1200)
        rate = stage.wait_steady()
        session = stage.closes(Session(stage.postgres.dsn))
        session(f"LOCK TABLE {stage.ledger.schema}.event IN EXCLUSIVE MODE")
        stage.outage(lasts(3, 30))
        since = time.time()
        session.connection.rollback()
        stage.recovered(found, since, rate, 5, SHARED)
        found.note(f"lock: {found.recovery_s:.1f} s")
        stage.stream_ends()
        deadlocks = deadlock(stage)
        stage.drained()
        assert deadlocks >= 1
        found.note(f"{deadlocks} deadlocks")


def deadlock(stage):
    """Makes a record statement of the worker the victim of a deadlock; returns how many there were."""
    wait_until(lambda: stage.states().get("claimed", 0) == 0, 30, "an idle worker", interval=0.05)
    # Our own patience is longer than the worker's, whose deadlock_timeout is the server's second.
    session = stage.closes(Session(admin_dsn(stage.postgres)))
    session("SET deadlock_timeout = '60s'")
    lock = f"SELECT 1 FROM {stage.ledger.schema}.event WHERE event_id = %s FOR UPDATE"
    with Suspended(stage.sim.process.pid):  # all answers come at once, when a row is locked
        names = sorted(one["event_id"] for one in stage.produce(IN_FLIGHT, first=len(stage.produced), partition=0))
        wait_until(lambda: stage.states().get("claimed", 0) == len(names), 9, "the claims")
        session(lock, (names[-1],))
    mine = wait_until(lambda: locked_by_worker(stage, lock, names[:-1]), 10, "the worker has a row and waits for ours",
                      interval=0.05)
    count = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'signup'"
    before = stage.postgres.execute(stage.postgres.admin_dsn, count)[0][0]
    other = threading.Thread(target=session, args=(lock, (mine,)), daemon=True)
    other.start()  # and we for its

    def more():
        return stage.postgres.execute(stage.postgres.admin_dsn, count)[0][0] - before
    wait_until(more, 10, "a deadlock", interval=0.05)
    other.join(10)
    session.connection.rollback()
    return more()


def locked_by_worker(stage, lock, names):
    """The first of these rows that somebody holds while a statement of the worker waits for a lock; None yet."""
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name ~ 'signup' AND query ~ %s"
    if not stage.postgres.execute(stage.postgres.admin_dsn, waits, (stage.ledger.schema,)):
        return None
    for name in names:
        try:
            stage.postgres.execute(admin_dsn(stage.postgres), lock + " NOWAIT", (name,))
        except psycopg2.errors.LockNotAvailable:
            return name
    return None


@on_own_cluster()
def test_no_way_in(stage):
    """All connections are taken; then pg_hba.conf refuses the worker: it asks again with pauses and is back at once."""
    with stage.row(33, "too many connections; pg_hba.conf changed",
                   "all connections taken by others; a line `reject`, reload") as found:
        ask_as_admin(stage)
        postgres = stage.postgres
        worker = stage.worker(postgres=QUICK)
        stage.stream(2000)
        rate = stage.wait_steady()
        taken = []
        try:
            crowd_out(postgres, worker, taken)
            seen = len(worker.log_text())
            stage.outage(lasts(1, 30))
            worker.wait_not_ready(reason="postgres: ")
        finally:
            since = time.time()
            for one in taken:
                one.close()
        found.note(f"crowded out: {back_again(stage, found, seen, since, rate, 5):.1f} s")

        hba = postgres.folder / "home" / "data" / "pg_hba.conf"
        text = hba.read_text()
        seen = len(worker.log_text())
        try:
            hba.write_text("host all signup 127.0.0.1/32 reject\n" + text)
            leave(postgres)
            worker.wait_log(AWAY, after=seen)
            worker.wait_not_ready(reason="pg_hba.conf")
            stage.outage(lasts(1, 30))
        finally:
            hba.write_text(text)
            postgres.execute(postgres.admin_dsn, "SELECT pg_reload_conf()")
            since = time.time()
        found.note(f"refused: {back_again(stage, found, seen, since, rate, 5):.1f} s")
        stage.stream_ends()
        stage.drained()


def leave(postgres):
    """The configuration is read again and the worker's connection ended."""
    postgres.execute(postgres.admin_dsn, "SELECT pg_reload_conf(), (SELECT count(pg_terminate_backend(pid)) FROM "
                     "pg_stat_activity WHERE application_name ~ 'signup' AND pid <> pg_backend_pid())")


def crowd_out(postgres, worker, taken):
    """Takes every connection that an ordinary user may have, the worker's too, until it has said for a while that there is
    none: one that it was just making when the others ran out does not show in the server's lists."""
    out = []

    def full():
        try:
            while True:
                taken.append(psycopg2.connect(postgres.dsn))
        except psycopg2.OperationalError:
            victims = backends(postgres)
        for pid in victims:
            postgres.execute(postgres.admin_dsn, "SELECT pg_terminate_backend(%s)", (pid,))
        status, text = worker.get("/readyz")
        if not victims and status == 503 and ("connection slots" in text or "too many" in text):
            out.append(text)
        else:
            out.clear()
        return len(out) >= 15
    wait_until(full, 30, lambda: f"a full server: {worker.get('/readyz')}", interval=0.1)


@scenario()
def test_pgbouncer(stage):
    """A transaction pool between: restarted, told to reconnect, paused until clients are thrown out of the queue."""
    fault = "PgBouncer in transaction mode: restart, RECONNECT, query_wait_timeout"
    if not PgBouncer.is_here():
        not_here(34, fault, "the package pgbouncer is missing")
        return
    with stage.row(34, fault, "PgBouncer 1.18, postgres.prepared false; SIGTERM and start; RECONNECT; PAUSE for longer than "
                   "query_wait_timeout 1 s") as found:
        bouncer = stage.closes(PgBouncer(stage.postgres, stage.folder, query_wait_timeout=1))
        worker = stage.worker(postgres={"dsn": bouncer.dsn, "prepared": False, "timeout": "3s", "connect_timeout": "1s"})
        stage.stream(2600)
        rate = stage.wait_steady()

        for name, begin, end in (("restart", bouncer.stop, bouncer.start),
                                 ("paused", lambda: bouncer.tell("PAUSE"), lambda: bouncer.tell("RESUME"))):
            seen = len(worker.log_text())
            begin()
            worker.wait_log(AWAY, after=seen)
            end()
            found.note(f"{name} {back_again(stage, found, seen, time.time(), rate, 5):.1f} s")
        bouncer.tell("RECONNECT")
        found.note(f"RECONNECT {stage.recovered(found, time.time(), rate, 5, SHARED):.1f} s")
        stage.stream_ends()
        stage.drained()


@scenario()
def test_slow(stage):
    """Every answer of the database takes half a second: statements carry many events each, memory stays."""
    with stage.row(35, "PostgreSQL slow, 500 ms a commit", "proxy delays both ways by 250 ms") as found:
        proxy = stage.proxy(stage.postgres.port)
        stage.sim.latency(5)
        worker = stage.worker(postgres={"dsn": stage.postgres.dsn_through(proxy.port)}, contacts_api={"max_in_flight": 256})
        proxy("delay both 250")
        began = time.time()
        stage.produce(3000, contacts=1500)
        stage.wait_accepted(2500, timeout=60)
        rate = stage.accepted() / (time.time() - began)
        since = time.time()
        proxy("pass")
        stage.drained()
        found.recovery(time.time() - since, 5 * SHARED)
        assert rate > 100, rate
        assert worker.is_ready()
        found.note(f"{rate:.0f} events a second with half a second for each answer")
