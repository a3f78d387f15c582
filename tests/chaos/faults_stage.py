"""The stage of one scenario of server faults: topics, a ledger, a simulator and workers of its own, and eyes that watch
what must hold the whole time: committed offsets, memory, order, enrolments."""
import datetime
import json
import pathlib
import tempfile
import threading
import time
import uuid

import confluent_kafka
import psycopg2

import results
from signup_harness import ChaosProxy, ContactsSim, Ledger, LogCheck, Worker, tail, wait_until
from signup_harness.fixtures import check_workers
from signup_harness.worker import merge
from signups import event

RSS_CAP = 128 << 20
IN_FLIGHT = 8
LATENCY_MS = 40  # of a stream that is slow enough for its rate to say something: 200 events a second
WINDOW_S = 0.5   # the rate is well again when it was in so much time
FULL_RATE = 0.9
FED_AT_ONCE = 200


class Stage:
    def __init__(self, name, servers, shared=None, partitions=4, broker=None, postgres=None, watch=True, sim_options=()):
        self.name, self.servers, self.shared, self.watch = name, servers, shared, watch
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="scenario-", dir=servers.folder))
        self.folder.chmod(0o755)
        self.said, self.made, self.closing, self.produced, self.feeder = [], [], [], {}, None
        self.broker = broker(self) if broker else servers.broker
        self.postgres = postgres(self) if postgres else servers.postgres
        self.log_check = LogCheck()
        unique = uuid.uuid4().hex[:10]
        self.group = f"worker-{unique}"
        self.source = self.broker.create_topic(f"signups-{unique}", partitions)
        self.dead_letter = self.broker.create_topic(f"signups-{unique}.dlq", 1)
        self.source.log_check = self.log_check
        self.ledger = Ledger(self.postgres.dsn, f"s_{unique}")
        self.sim = ContactsSim(self.folder / "contacts", options=["--book-bodies", *sim_options])
        self.closing.append(self.sim)
        self.key_file = self.folder / "api-key"
        self.set_key(self.sim.key)
        self.effects = Effects(self.sim)
        self.memory = MemoryWatch()
        self.offsets = OffsetWatch(self.broker, self.source, self.group, self.ledger)
        if watch:
            self.offsets.start()
        self.memory.start()

    def row(self, number, fault, how):
        """results.row() of a scenario of this broker."""
        return results.row(number, fault, how, self.broker)

    # --- actors ---

    def set_key(self, key):
        """Replaces the key file at one stroke, as a secret's mount does."""
        self.log_check.add_secret(key)
        new = self.folder / "api-key.new"
        new.write_text(key + "\n")
        new.chmod(0o600)
        new.rename(self.key_file)

    def config(self):
        return {
            "kafka": {"brokers": self.broker.bootstrap, "topics": [self.source.name], "group": self.group,
                      "dead_letter_topic": self.dead_letter.name, "commit_interval": "200ms",
                      "properties": {"session.timeout.ms": 6000 if self.broker.is_real else 3500,
                                     "heartbeat.interval.ms": 300}},
            "postgres": {"dsn": self.postgres.dsn, "schema": self.ledger.schema, "auto_migrate": True},
            "contacts_api": {"base_url": self.sim.base_url(), "validation_url": self.sim.validation_url(),
                             "key_file": str(self.key_file), "max_in_flight": IN_FLIGHT},
            "retry": {"park_base": "300ms", "park_cap": "2s"},
            "log": {"level": "info"},
        }

    def worker(self, start=True, ready=True, environment=None, kind=Worker, **changes):
        """One more worker; `changes` are laid over config()."""
        worker = kind(self.folder, merge(self.config(), changes), environment, f"worker{len(self.made) + 1}")
        self.made.append(worker)
        self.memory.workers.append(worker)
        return worker.start(ready=ready) if start else worker

    def proxy(self, target_port, port=None):
        proxy = ChaosProxy(target_port, port)
        self.closing.append(proxy)
        return proxy

    def api_proxy(self):
        """(a proxy before the simulator, the part of a worker's configuration that goes through it). The simulator keeps
        its memory while nobody reaches it."""
        proxy = self.proxy(self.sim.port)
        return proxy, {"base_url": self.sim.base_url(port=proxy.port),
                       "validation_url": self.sim.validation_url(port=proxy.port)}

    def closes(self, thing):
        """`thing.close()` at the end; returns it."""
        self.closing.append(thing)
        return thing

    # --- events ---

    def produce(self, count, contacts=None, first=0, partition=None, **fields):
        """`count` numbered events of `contacts` contacts that take turns (all different without it). The first one of
        each contact asks to be enrolled whatever was before, so that a second effect of it shows."""
        contacts = contacts or count
        events = [event(first + number % contacts, event_id=f"e-{first + number}", custom_fields={"seq": first + number},
                        skip_journey_if_exists=False if number < contacts else None, **fields) for number in range(count)]
        return self.publish(events, partition)

    def publish(self, events, partition=None, **options):
        positions = self.source.produce(events, partition=partition, **options)
        for one, position in zip(events, positions):
            self.produced[one["event_id"]] = position
        return events

    def stream(self, count=2000, firsts=None, fed=True):
        """A backlog that is worked on at a known rate: IN_FLIGHT calls of LATENCY_MS at a time. It is of new contacts, or of
        those of `firsts`, all that were produced so far; and it never runs dry before stream_ends(), however slowly the
        scenario goes on, except where the scenario breaks the broker (`fed` false)."""
        self.sim.latency(LATENCY_MS)
        contacts = len(firsts) if firsts else max(50, count // 10)
        if firsts:
            self.publish(later_events("e", len(firsts), count, contacts))
        else:
            self.produce(count, contacts)
        if fed:
            self.feeder = Feeder(self, contacts)
            self.feeder.start()

    def stream_ends(self):
        """Nothing more comes, and what is there is worked on as fast as can be."""
        if self.feeder:
            self.feeder.stop()
            self.feeder = None
        self.sim.latency(0)

    def accepted(self):
        return self.states().get("accepted", 0)

    def states(self):
        """{state: rows}; empty while PostgreSQL cannot be asked."""
        try:
            return self.ledger.states()
        except psycopg2.OperationalError:
            return {}

    def wait_accepted(self, count, timeout=30):
        wait_until(lambda: self.accepted() >= count, timeout, lambda: f"{count} accepted, but {self.states()}", interval=0.05)

    def wait_steady(self, timeout=20):
        """Until the stream has run for a second at an even rate; returns that rate."""
        def steady():
            now = time.time()
            first, second = self.effects.rate(now - 1, now - 0.5), self.effects.rate(now - 0.5, now)
            return second if first and second and 0.8 < first / second < 1.25 else None
        return wait_until(steady, timeout, lambda: f"a steady stream: {self.states()}", interval=0.1)

    def outage(self, seconds):
        """The fault lasts so long, by the clock."""
        end = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() >= end, seconds + 5, "the end of the outage", interval=0.05)

    def recovered(self, found, since, rate, bound, factor=1.0, counted=None):
        """Waits until the stream is at 90 % of `rate` again (or, without a rate, until the first effect), counted from
        time.time() `since`; puts it down in `found` (a row of the results) and holds it against bound * factor. The
        factor is for what shares this machine with us. Only effects after `counted` speak for it, where some may still
        come of what was under way before."""
        counted = since if counted is None else counted

        def well():
            return self.effects.first_after(counted) if rate is None else self.effects.full_since(counted, FULL_RATE * rate)
        limit = bound * factor
        at = wait_until(well, limit + 20, lambda: f"recovery of {self.name}: {self.states()}, a steady {rate}, now "
                        f"{self.effects.rate(time.time() - 1, time.time())} a second", interval=0.05)
        took = max(0.0, at - since)
        first = self.effects.first_after(counted)
        self.say(f"back in {took:.2f} s" if rate is None or first is None else
                 f"back in {took:.2f} s (first call {max(0.0, first - since):.2f} s)")
        found.recovery(took, limit)
        return took

    def say(self, text):
        self.said.append(text)

    @staticmethod
    def said_at(worker, text, after=0, timeout=30):
        """The time.time() of a line of the log, once it is there."""
        stamp = worker.wait_log(r"time=(\S+)Z [^\n]*" + text, timeout, after)[1]
        return datetime.datetime.fromisoformat(stamp + "+00:00").timestamp()

    # --- what an operator sees ---

    def sees(self, worker, ready, gate=None, line=None, timeout=20):
        """/readyz is 503 with `ready` in it, /status says of the route `gate` that it is closed, why and since when, the
        log has `line` exactly once. Returns the gate."""
        worker.wait_not_ready(timeout, ready)
        found = None
        if gate:
            def closed():
                return next((one for one in worker.status()["gates"] if one["route"] == gate and not one["open"]), None)
            found = wait_until(closed, timeout, lambda: f"{gate} closed: {worker.status()['gates']}")
            assert found["why"] and found["closed_since"], found
        if line:
            worker.wait_log(line, timeout)
            lines = self.lines(worker, line)
            assert len(lines) == 1, lines
        return found

    @staticmethod
    def lines(worker, text):
        return [line for line in worker.log_text().splitlines() if text in line]

    # --- the end ---

    def wait_settled(self, timeout=30):
        """Everything is committed, and nothing beyond it."""
        wait_until(lambda: self.offsets.lag() == 0, timeout, lambda: f"{self.group}: lag {self.offsets.lag()}", interval=0.05)

    def drained(self, accepted=None, timeout=60, overlap=False, order=True, **states):
        """Everything that was produced has its row, final and one each; L, D, O, C and M. `states` as in wait_states()
        where not everything is accepted; `overlap` where the network may have delivered what the worker had given up;
        `order` false where somebody else has read old events again."""
        assert not self.feeder, "the stream has not ended"
        wanted = {"accepted": len(self.produced) if accepted is None else accepted, **states}
        wait_until(lambda: self.states() == wanted, timeout, lambda: f"states {self.states()}, wanted {wanted}", interval=0.05)
        self.wait_settled()
        names = {row["event_id"] for row in self.ledger.query("SELECT event_id FROM {schema}.event")}
        assert names == set(self.produced), f"{len(names ^ set(self.produced))} too many or missing"
        self.nobody_twice(overlap)
        if order:
            self.in_order()
        if not states.get("dead"):
            assert not self.offsets.size(self.dead_letter), "a dead letter of a failure that was everybody's"

    def nobody_twice(self, overlap=False):
        stats = self.sim.stats()
        assert stats["enrolled_more_than_once"] == 0, stats
        assert overlap or stats["overlapping_calls"] == 0, stats

    def in_order(self):
        """The simulator saw the numbers of each contact rise; a repeat is of the latest."""
        order = self.sim.stats()["order"]
        assert order["out_of_order"] == 0, order

    def nobody_dead(self):
        """No row is dead and no letter written."""
        assert not self.states().get("dead"), self.ledger.codes()
        assert not self.offsets.size(self.dead_letter)

    def tries(self, name):
        """(of an event) how many upserts the ledger knows, its row."""
        row = self.ledger.row(name)
        known = sum(1 for one in self.ledger.attempts(name) if one["route"] == "upsert")
        return known or (1 if row["state"] == "accepted" else 0), row

    def end(self):
        """What must have held the whole time."""
        self.offsets.stop()
        self.memory.stop()
        check_workers(self.made, self.log_check)
        assert not self.offsets.problems, self.offsets.problems[:5]
        assert self.offsets.looks or not self.watch, "nobody looked at the offsets"
        peak = self.memory.peak
        assert peak <= RSS_CAP, f"{peak >> 20} MiB"
        if peak:
            self.say(f"RSS {peak >> 20} MiB")

    def close(self):
        """Ends everything; returns what went wrong with it."""
        if self.feeder:
            self.feeder.stop()
        self.offsets.stop()
        self.memory.stop()
        for worker in self.made:
            if worker.is_running():
                worker.kill()
        problems = []
        for thing in reversed(self.closing):
            try:
                thing.close()
            except Exception as error:  # the others are closed all the same
                problems.append(f"{type(thing).__name__}: {error}")
        return problems

    def illustrate(self):
        """For a failed scenario: its last log lines and rows."""
        parts = [f"--- {self.name}: {self.folder}", *self.said]
        for worker in self.made:
            parts += [f"--- {worker.name}", tail(worker.log, 40), worker.get("/status")[1] if worker.is_running() else "has ended"]
        try:
            parts += ["--- ledger", self.ledger.summary()]
        except psycopg2.Error as error:
            parts.append(f"--- ledger: {error}")
        return "\n".join(parts)


class Effects:
    """The times of the simulator's effects, read from its book as it grows."""

    def __init__(self, sim):
        self.path, self.at, self.times, self.lock = sim.book_path, 0, [], threading.Lock()

    def read(self):
        with self.lock:
            try:
                with open(self.path, "rb") as file:
                    file.seek(self.at)
                    data = file.read()
            except FileNotFoundError:
                return self.times
            end = data.rfind(b"\n") + 1
            self.at += end
            for line in data[:end].splitlines():
                if b'"applied":true' in line:
                    self.times.append(json.loads(line)["at_us"] / 1e6)
            return self.times

    def rate(self, start, end):
        """Effects a second between two instants of time.time()."""
        return sum(1 for at in self.read() if start <= at < end) / (end - start)

    def first_after(self, since):
        return next((at for at in self.read() if at > since), None)

    def full_since(self, since, rate):
        """The first instant from which on the rate was reached for WINDOW_S; None yet."""
        times = [at for at in self.read() if at > since]
        needed = max(1, int(rate * WINDOW_S))
        for number in range(len(times) - needed):
            if times[number + needed] - times[number] <= WINDOW_S:
                return times[number]
        return None


class Watch(threading.Thread):
    """A thread that looks again and again until it is stopped."""

    def __init__(self, interval):
        super().__init__(daemon=True)
        self.interval, self.over = interval, threading.Event()

    def run(self):
        while not self.over.wait(self.interval):
            self.look()

    def stop(self):
        self.over.set()
        if self.is_alive():
            self.join(20)


class Feeder(Watch):
    """Keeps the backlog of a stream at some seconds of work, with further events of its contacts."""

    def __init__(self, stage, contacts):
        super().__init__(0.2)
        self.stage, self.contacts, self.next = stage, contacts, len(stage.produced)

    def look(self):
        if len(self.stage.produced) - len(self.stage.effects.read()) < 4 * FED_AT_ONCE:
            self.stage.publish(later_events("fed", self.next, FED_AT_ONCE, self.contacts))
            self.next += FED_AT_ONCE


class MemoryWatch(Watch):
    """The most that any worker of the scenario had resident."""

    def __init__(self):
        super().__init__(0.1)
        self.workers, self.peak = [], 0

    def look(self):
        for worker in list(self.workers):
            try:
                if worker.is_running():
                    self.peak = max(self.peak, worker.rss_bytes())
            except (OSError, TypeError):
                pass  # gone in this moment


class OffsetWatch(Watch):
    """The group's committed offsets never go back, and never pass a record whose row is not durable."""

    def __init__(self, broker, topic, group, ledger):
        super().__init__(0.25)
        self.topic, self.ledger, self.problems, self.last, self.looks = topic, ledger, [], {}, 0
        self.lock = threading.Lock()
        self.reader = confluent_kafka.Consumer({
            "bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False, "socket.timeout.ms": 2000,
            "reconnect.backoff.max.ms": 500, "log_level": 0, "error_cb": lambda error: None})

    def committed(self):
        wanted = [confluent_kafka.TopicPartition(self.topic.name, number) for number in range(self.topic.partitions)]
        with self.lock:
            return {one.partition: one.offset if one.offset >= 0 else 0 for one in self.reader.committed(wanted, timeout=2)
                    if one.error is None}

    def ends(self, topic):
        with self.lock:
            return {number: self.reader.get_watermark_offsets(confluent_kafka.TopicPartition(topic.name, number), timeout=5)
                    for number in range(topic.partitions)}

    def lag(self):
        """Records that are not committed; None where the broker does not say."""
        try:
            committed, ends = self.committed(), self.ends(self.topic)
        except confluent_kafka.KafkaException:
            return None
        if len(committed) < len(ends):
            return None
        over = {number: committed[number] for number in ends if committed[number] > ends[number][1]}
        assert not over, f"committed beyond the end: {over}, {ends}"
        return sum(ends[number][1] - committed[number] for number in ends)

    def size(self, topic):
        """Records on a topic."""
        return sum(high - low for low, high in self.ends(topic).values())

    def look(self):
        try:
            now = self.committed()
            short = self._not_durable(now)
        except (confluent_kafka.KafkaException, psycopg2.Error):
            return  # a server of the scenario is away
        self.looks += 1
        for number, offset in now.items():
            if offset < self.last.get(number, 0):
                self.problems.append(f"partition {number}: committed went back from {self.last[number]} to {offset}")
            self.last[number] = offset
        self.problems += short

    def _not_durable(self, committed):
        if not any(committed.values()):
            return []
        rows = self.ledger.query(
            'SELECT w.p, w.c, count(e.event_id) AS n FROM unnest(%s::int[], %s::bigint[]) AS w(p, c) LEFT JOIN {schema}.event e '
            'ON e."partition" = w.p AND e."offset" < w.c AND e.state <> \'claimed\' GROUP BY 1, 2',
            (list(committed), list(committed.values())))
        return [f"partition {row['p']}: committed {row['c']}, but only {row['n']} durable rows before it"
                for row in rows if row["n"] < row["c"]]


def later_events(name, first, count, contacts):
    """`count` numbered events of contacts that were there before."""
    return [event(number % contacts, event_id=f"{name}-{number}", custom_fields={"seq": number})
            for number in range(first, first + count)]


def answer(status, code="", **more):
    """A simulator's action: a refusal that takes no effect."""
    return {"kind": "answer", "status": status, "code": code, "error": "for the test", "apply": False, **more}


def gaps_s(lines):
    """Seconds between lines of the book."""
    times = [line["at_us"] for line in lines]
    return [(b - a) / 1e6 for a, b in zip(times, times[1:])]
