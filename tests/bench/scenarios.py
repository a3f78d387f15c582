"""The scenarios: what is started, what a run does, what is read off, and what must be true at its end."""
import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import uuid

import machine
from loads import Gated, Load, Mapped
from report import Figure, Result
from signup_harness import ContactsSim, KafkaNode, Ledger, PostgresNode, Worker, find_binary, free_port, tail, wait_until
from signup_harness.process import run_script, spawn

# What an operator would set on a server of this size; the rest is PostgreSQL's default, fsync and synchronous_commit among it.
POSTGRES_SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "min_wal_size": "1GB",
    "wal_compression": "lz4",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
}
PARTITIONS = 8
SEED = 7
IN_FLIGHT = 256
LATENCY_MS = 50
LATENCY_EVENTS = 60000
# With everything on one machine: a backlog that takes longer than this has stopped.
SLOWEST_EVENTS_PER_SECOND = 500
STATUS_INTERVAL_S = 0.1
LATENCY_INTERVAL_S = 0.05
LOAD_REQUESTS = 200000
OUTAGE_EVENTS = 1000000
OUTAGE_S = 30
OUTAGE_RUNS = 2
AFTER_OUTAGE_EVENTS = 150000
NOISE = 0.05 # share of the machine that others may use before a run is remarked upon


class QuietSim(ContactsSim):
    """The contacts simulator without its book, whose writing would be measured with it; it counts all the same."""

    def start(self):
        port_file = self.folder / "ports"
        kinds = ["listen", "tls-listen", "validation-listen", "validation-tls-listen", "control-listen"]
        listen = [f"--{kind}=127.0.0.1:{free_port()}" for kind in kinds]
        self.process = spawn([find_binary("contacts-sim"), *listen, "--port-file", port_file, "--key", self.key,
                              *self.options], self.log)
        wait_until(lambda: port_file.exists() or self.process.poll() is not None, 20, "the contacts simulator")
        assert self.process.poll() is None, tail(self.log)
        self.ports = [int(line) for line in port_file.read_text().split()]

    def fresh(self):
        self.control("POST", "/_sim/reset")


class Servers:
    """One broker, one PostgreSQL, one simulator, for all scenarios; topics are filled once and read again by new groups."""

    def __init__(self, folder, stack):
        self.folder, self.topics = folder, {}
        say("starting Apache Kafka, PostgreSQL and the contacts simulator")
        # What undoes a start is noted before it, so that an end in the middle of it leaves nothing either.
        stack.callback(shutil.rmtree, folder / "kafka" / "data", ignore_errors=True)
        stack.callback(run_script, KafkaNode.script, "stop", "--dir", folder / "kafka")
        stack.callback(run_script, PostgresNode.script, "destroy", "--dir", folder / "postgres")
        self.kafka = KafkaNode(folder / "kafka")
        self.postgres = PostgresNode(folder / "postgres", settings=POSTGRES_SETTINGS)
        self.sim = QuietSim(folder / "contacts", tls=True)
        stack.callback(stop_process, self.sim.process)

    def generated(self, events):
        """The generator's events, one after the other."""
        for line in self.kafka.tool("produce", "--print", "--gen", events, "--seed", SEED).splitlines():
            yield json.loads(line)

    def _topic(self, name):
        topic = self.kafka.create_topic(name, PARTITIONS)
        self.kafka.create_topic(f"{topic.name}.dlq", 1)
        return topic

    def backlog(self, events):
        """The topic that holds that many events, each of another contact."""
        if events not in self.topics:
            say(f"publishing {events:,} events")
            topic = self._topic(f"signups-{events}")
            self.kafka.tool("produce", "--topic", topic.name, "--gen", events, "--seed", SEED, "--quiet", timeout=300)
            self.topics[events] = topic
        return self.topics[events]

    def mapped_backlog(self, events):
        """The topic that holds the same signups in another shape."""
        if ("mapped", events) not in self.topics:
            say(f"publishing {events:,} events in another shape")
            topic = self._topic(f"forms-{events}")
            records = self.folder / "records"
            with open(records, "w", encoding="ascii") as file:
                Mapped().write(self.generated(events), file)
            self.kafka.tool("produce", "--topic", topic.name, "--records", "--file", records, "--quiet", timeout=300)
            records.unlink()
            self.topics["mapped", events] = topic
        return self.topics["mapped", events]

    def phones(self, events):
        """Of the generator's events."""
        if ("phones", events) not in self.topics:
            self.topics["phones", events] = [event["phone_number"] for event in self.generated(events)]
        return self.topics["phones", events]

    @contextlib.contextmanager
    def fresh_ledger(self):
        """A database of its own, made after a checkpoint, dropped at the end."""
        self.postgres.execute(self.postgres.admin_dsn, "CHECKPOINT")
        ledger = Ledger(self.postgres.create_database())
        try:
            yield ledger
        finally:
            name = ledger.dsn.rsplit("/", 1)[1]
            # As the superuser: autovacuum may be at work in it, and is the superuser's process.
            self.postgres.execute(self.postgres.admin_dsn, f"DROP DATABASE {name} WITH (FORCE)")

    def facts(self):
        version = self.postgres.execute(self.postgres.dsn, "SHOW server_version")[0][0]
        settings = ", ".join(f"{name} {value}" for name, value in POSTGRES_SETTINGS.items())
        kept = {name: self.postgres.execute(self.postgres.dsn, f"SHOW {name}")[0][0]
                for name in ("fsync", "synchronous_commit", "full_page_writes")}
        defaults = ", ".join(f"{name} {value}" for name, value in kept.items())
        return [
            ("broker", f"{self.kafka.description}, {machine.java_version()}, heap 512 MiB, {PARTITIONS} partitions"),
            ("PostgreSQL", f"{version}; {settings}; {defaults}"),
        ]


# --- talking to the person who waits ---

def say(text):
    print(f"{text} …", flush=True)


def progress(text):
    """One line that is overwritten, where there is somebody to see it."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="", flush=True)


def done_line(text):
    progress("")
    print(text, flush=True)


def stop_process(process):
    if process is not None and process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)


# --- a backlog, drained ---

class Usage:
    """Processor time of everybody so far; the difference of two is what a run cost."""

    def __init__(self, servers, worker_pid=None):
        self.postgres, self.backends = machine.postgres_cpu_us(servers.postgres.pid())
        self.kafka = machine.cpu_us(servers.kafka.pid())
        self.sim = machine.cpu_us(servers.sim.process.pid)
        self.worker = machine.cpu_us(worker_pid) if worker_pid else 0.0
        self.worker_loop = machine.main_thread_cpu_us(worker_pid) if worker_pid else 0.0
        self.busy, self.stolen = machine.machine_cpu_us()

    def since(self, before):
        used = {name: value - getattr(before, name) for name, value in vars(self).items()}
        used["others"] = max(0.0, used["busy"] - sum(used[name] for name in ("postgres", "kafka", "sim", "worker")))
        return used


def watch(worker, events, label, interval_s):
    """Polls /status until every event is accepted or dead; returns [(monotonic seconds, accepted)]."""
    samples = []
    deadline = time.monotonic() + 60 + events / SLOWEST_EVENTS_PER_SECOND

    def finished():
        asked = time.monotonic()
        status, text = worker.get("/status")
        if status == 200:
            counters = {name: int(value) for name, value in re.findall(r'"(accepted|dead|parked)":(\d+)', text)}
            # Taken to be as old as the middle of the question.
            samples.append(((asked + time.monotonic()) / 2, counters["accepted"]))
            progress(f"{label}{counters['accepted']:>10,} of {events:,}")
            if counters["accepted"] + counters["dead"] >= events:
                return True
        if worker.process.poll() is not None:
            raise RuntimeError(f"the worker exited with {worker.process.returncode}\n{tail(worker.log, 30)}")
        return False

    wait_until(finished, deadline - time.monotonic(), lambda: f"{events} events: {samples[-1:]}\n{tail(worker.log, 30)}",
               interval=interval_s)
    return samples


def make_worker(servers, topic, ledger, tls, folder, changes=None):
    """A worker with the defaults of its configuration, but for `changes`, and a group that has never read anything."""
    key_file = folder / "api-key"
    key_file.write_text(servers.sim.key + "\n")
    key_file.chmod(0o600)
    contacts = {"base_url": servers.sim.base_url(tls), "validation_url": servers.sim.validation_url(tls),
                "key_file": str(key_file), "max_in_flight": IN_FLIGHT}
    if tls:
        contacts["ca_file"] = str(servers.sim.ca_file)
    worker = Worker(folder, {
        "kafka": {"brokers": servers.kafka.bootstrap, "topics": [topic.name], "group": f"bench-{uuid.uuid4().hex[:12]}",
                  "dead_letter_topic": f"{topic.name}.dlq"},
        "postgres": {"dsn": ledger.dsn},
        "contacts_api": contacts,
        **(changes or {}),
    })
    migrated = subprocess.run([find_binary("signup-worker"), "migrate", "--config", worker.config_path],
                              capture_output=True, text=True, check=False)
    if migrated.returncode != 0:
        raise RuntimeError(f"signup-worker migrate: exit {migrated.returncode}\n{migrated.stderr}")
    return worker


def counters_of(worker):
    status, text = worker.get("/status")
    assert status == 200, text
    return json.loads(text)["counters"]


def drain(servers, events, tls, latency_ms, label, load=None):
    """One run; returns ({quantity: value}, samples of /status, what was wrong)."""
    load = load or Load(servers.backlog(events))
    servers.sim.fresh()
    servers.sim.latency(latency_ms)
    folder = servers.folder / f"run-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    with servers.fresh_ledger() as ledger:
        worker = make_worker(servers, load.topic, ledger, tls, folder, load.configuration())
        load.prepare(ledger, lambda: servers.phones(events))
        before, began = Usage(servers), time.monotonic()
        try:
            worker.start(ready=False)
            samples = watch(worker, events, label, LATENCY_INTERVAL_S if latency_ms else STATUS_INTERVAL_S)
            wall_s = time.monotonic() - began
            used = Usage(servers, worker.process.pid).since(before)
            rss = machine.peak_rss_bytes(worker.process.pid)
            counters = counters_of(worker)
            exit_status = worker.stop()
        finally:
            if worker.is_running():
                worker.kill()
        ledger_s, complaints = check(servers, load, worker, ledger, events, exit_status, counters)
    if not complaints:
        shutil.rmtree(folder, ignore_errors=True)
    used.update(rss_bytes=rss, wall_s=wall_s, ledger_s=ledger_s)
    return used, samples, complaints


def check(servers, load, worker, ledger, events, exit_status, counters):
    """(seconds from the first row to the last, [what is wrong]): everything arrived, everything is recorded, nothing twice."""
    row = ledger.query("SELECT count(*) AS rows, count(*) FILTER (WHERE state = 'accepted') AS accepted,"
                       " coalesce(sum(journeys_enrolled), 0) AS journeys,"
                       " coalesce(extract(epoch FROM max(finished_at) - min(received_at)), 0)::float8 AS seconds"
                       " FROM {schema}.event")[0]
    stats = servers.sim.stats()
    expected = {
        "rows of the ledger": (row["rows"], events),
        "accepted rows": (row["accepted"], events),
        "contacts of the simulator": (stats["contacts"], events),
        "contacts on their list": (stats["list_contacts"], events),
        "contacts enrolled more than once": (stats["enrolled_more_than_once"], 0),
        "journey enrolments of the simulator, by the ledger's": (stats["journeys_enrolled"], int(row["journeys"])),
        "records that the group has not committed": (servers.kafka.lag(load.topic.name, worker.config["kafka"]["group"]), 0),
        "exit status of the worker": (exit_status, 0),
        **load.expected(ledger, stats, counters, events),
    }
    return row["seconds"], [f"{what}: {is_}, not {should} (log: {worker.log})"
                            for what, (is_, should) in expected.items() if is_ != should]


def drain_figures():
    return [
        Figure("throughput, first claim to last row", "events/s", target=(">=", 10000)),
        Figure("throughput, start of the process to last row", "events/s"),
        Figure("worker, processor", "µs/event", 1, ("<=", 60)),
        Figure("of it the event loop, without the threads of librdkafka", "µs/event", 1),
        Figure("worker, peak memory", "MiB", 1, ("<=", 64)),
        Figure("PostgreSQL, the worker's backend", "µs/event", 1),
        Figure("PostgreSQL, all of it", "µs/event", 1),
        Figure("contacts simulator", "µs/event", 1),
        Figure("broker", "µs/event", 1),
        Figure("everybody else and the kernel", "µs/event", 1),
    ]


def drain_values(used, events):
    def share(name):
        return used[name] / events
    quantities = [events / used["ledger_s"], events / used["wall_s"], share("worker"), share("worker_loop"),
                  used["rss_bytes"] / 1024 / 1024, share("backends"), share("postgres"), share("sim"), share("kafka"),
                  share("others")]
    return {figure.name: value for figure, value in zip(drain_figures(), quantities, strict=True)}


def noise_note(used):
    """A remark where the machine was not ours alone."""
    available = used["wall_s"] * 1e6 * os.cpu_count()
    notes = [f"{used[name] / available:.0%} of the machine {text}"
             for name, text in (("others", "went elsewhere"), ("stolen", "was stolen by its hypervisor"))
             if used[name] > NOISE * available]
    return f"   ({', '.join(notes)})" if notes else ""


def run_backlog(options, servers, name):
    tls = name == "tls"
    title = (f"Backlog of {options.events:,} events, single upserts over {'TLS' if tls else 'cleartext HTTP/1.1'}, "
             f"{runs_text(options)}")
    result, wrong = Result(title, drain_figures()), []
    for run in range(1, options.runs + 1):
        label = f"{name:<10} run {run}/{options.runs}"
        used, _, complaints = drain(servers, options.events, tls, 0, label)
        wrong += [f"{name}, run {run}: {complaint}" for complaint in complaints]
        if used["ledger_s"] <= 0:
            continue
        values = drain_values(used, options.events)
        result.add(values)
        done_line(f"{label}  {options.events / used['ledger_s']:>8,.0f} events/s  {used['worker'] / options.events:>6.1f} µs/event"
                  f"  {used['rss_bytes'] / 1024 / 1024:>6.1f} MiB  {used['wall_s']:>6.1f} s{noise_note(used)}")
    return result, wrong


# --- another shape, and the gate ---

def run_shapes(options, servers, name):
    """The same signups twice, in turns: as the API's own body, and in a shape of somebody else's."""
    kinds = {"plain": "worker, processor, the API's own body, defaults", "mapped": "worker, processor, mapped and routed"}
    more = "more than plain, run by run"
    loop = {"plain": "of it the event loop, plain", "mapped": "of it the event loop, mapped and routed"}
    rate = "throughput, mapped and routed, start of the process to last row"
    result, wrong = Result(
        f"The same {options.events:,} signups as the API's own body, and in another shape with mapping, routes, attribution and "
        f"consent, {runs_text(options)} of each",
        [Figure(kinds["plain"], "µs/event", 1), Figure(kinds["mapped"], "µs/event", 1), Figure(more, "%", 1, ("<=", 10)),
         Figure(loop["plain"], "µs/event", 1), Figure(loop["mapped"], "µs/event", 1),
         Figure(rate, "events/s")]), []
    loads = {"plain": Load(servers.backlog(options.events)), "mapped": Mapped(servers.mapped_backlog(options.events))}
    for run in range(1, options.runs + 1):
        used = {}
        for kind, load in sorted(loads.items(), reverse=run % 2 == 0): # who comes first takes turns, too
            label = f"{name:<10} run {run}/{options.runs} {kind:<7}"
            used[kind], _, complaints = drain(servers, options.events, False, 0, label, load)
            wrong += [f"{name}, run {run}, {kind}: {complaint}" for complaint in complaints]
        share = {kind: used[kind]["worker"] / options.events for kind in kinds}
        dearer = 100 * (share["mapped"] / share["plain"] - 1)
        result.add({**{kinds[kind]: share[kind] for kind in kinds}, more: dearer, rate: options.events / used["mapped"]["wall_s"],
                    **{loop[kind]: used[kind]["worker_loop"] / options.events for kind in kinds}})
        done_line(f"{name:<10} run {run}/{options.runs}  plain {share['plain']:>6.1f} µs/event  mapped {share['mapped']:>6.1f}"
                  f" µs/event  {dearer:>+6.1f} %{noise_note(used['mapped'])}")
    return result, wrong


def run_gate(options, servers, name):
    """validation.mode gate, every phone known to the ledger: no call for any of them."""
    calls = "calls of the validation host"
    result, wrong = Result(
        f"Backlog of {options.events:,} events, validation.mode gate, every phone known, {runs_text(options)}",
        [Figure(calls, "calls", target=("<=", 0)), *(figure for figure in drain_figures() if figure.name != "broker")]), []
    load = Gated(servers.backlog(options.events))
    for run in range(1, options.runs + 1):
        label = f"{name:<10} run {run}/{options.runs}"
        used, _, complaints = drain(servers, options.events, False, 0, label, load)
        wrong += [f"{name}, run {run}: {complaint}" for complaint in complaints]
        if used["ledger_s"] <= 0:
            continue
        values = drain_values(used, options.events)
        del values["broker"]
        result.add({calls: servers.sim.stats()["calls"]["validate"]["received"], **values})
        done_line(f"{label}  {options.events / used['ledger_s']:>8,.0f} events/s  {used['worker'] / options.events:>6.1f} µs/event"
                  f"  {used['rss_bytes'] / 1024 / 1024:>6.1f} MiB{noise_note(used)}")
    return result, wrong


# --- latency ---

def time_at(samples, count):
    """When `count` was passed, between two looks on a straight line."""
    for (t0, n0), (t1, n1) in zip(samples, samples[1:]):
        if n0 <= count < n1:
            return t0 + (t1 - t0) * (count - n0) / (n1 - n0)
    return math.nan


def run_latency(options, servers, name):
    events, ceiling = min(options.events, LATENCY_EVENTS), IN_FLIGHT / (LATENCY_MS / 1000)
    share, rate = "share of the ceiling", "throughput in the middle 80 %"
    result, wrong = Result(
        f"An API that takes {LATENCY_MS} ms for every answer, {IN_FLIGHT} calls in flight: ceiling {ceiling:,.0f}/s, "
        f"{events:,} events, {runs_text(options)}",
        [Figure(share, "%", 1, (">=", 95)), Figure(rate, "events/s"), Figure("worker, processor", "µs/event", 1),
         Figure("worker, peak memory", "MiB", 1)]), []
    for run in range(1, options.runs + 1):
        label = f"{name:<10} run {run}/{options.runs}"
        used, samples, complaints = drain(servers, events, False, LATENCY_MS, label)
        wrong += [f"{name}, run {run}: {complaint}" for complaint in complaints]
        steady = 0.8 * events / (time_at(samples, 0.9 * events) - time_at(samples, 0.1 * events))
        if math.isnan(steady):
            wrong.append(f"{name}, run {run}: {events} events are too few to see a steady state")
            continue
        result.add({share: 100 * steady / ceiling, rate: steady, "worker, processor": used["worker"] / events,
                    "worker, peak memory": used["rss_bytes"] / 1024 / 1024})
        done_line(f"{label}  {steady:>8,.0f} events/s  {100 * steady / ceiling:>6.1f} % of the ceiling  {used['wall_s']:>6.1f} s"
                  f"{noise_note(used)}")
    return result, wrong


# --- an outage ---

def accepted_now(worker):
    status, text = worker.get("/status")
    assert status == 200, text
    return {name: int(value) for name, value in re.findall(r'"(accepted|dead|parked|calls)":(\d+)', text)}


def outage_run(servers, topic, folder, label):
    """One run; returns ({quantity: value}, what was wrong)."""
    servers.sim.fresh()
    servers.sim.latency(0)
    servers.sim.fault({"kind": "answer", "status": 500, "code": "internal_error", "error": "down", "apply": False}, op="any")
    with servers.fresh_ledger() as ledger:
        worker = make_worker(servers, topic, ledger, False, folder)
        samples = []
        try:
            worker.start(ready=False)
            worker.wait_not_ready(reason="contacts_api")
            before, began = machine.cpu_us(worker.process.pid), time.monotonic()
            calls = accepted_now(worker)["calls"]
            wait_until(lambda: progress(f"{label}{time.monotonic() - began:>6.0f} s of {OUTAGE_S}") or
                       time.monotonic() - began >= OUTAGE_S, OUTAGE_S + 10, "the end of the outage", interval=0.5)
            idle_cpu = (machine.cpu_us(worker.process.pid) - before) / 1e6 / (time.monotonic() - began)
            down_rss, down = machine.peak_rss_bytes(worker.process.pid), accepted_now(worker)
            servers.sim.clear_faults()
            returned = time.monotonic()

            def enough():
                samples.append((time.monotonic(), accepted_now(worker)["accepted"]))
                progress(f"{label}{samples[-1][1]:>10,} accepted")
                return samples[-1][1] >= AFTER_OUTAGE_EVENTS
            wait_until(enough, 60 + AFTER_OUTAGE_EVENTS / SLOWEST_EVENTS_PER_SECOND, lambda: f"recovery: {samples[-1:]}",
                       interval=STATUS_INTERVAL_S)
            rss, end = machine.peak_rss_bytes(worker.process.pid), accepted_now(worker)
            status = worker.stop()
        finally:
            if worker.is_running():
                worker.kill()
        twice = servers.sim.stats()["enrolled_more_than_once"]
    steady = (samples[-1][1] - samples[len(samples) // 2][1]) / (samples[-1][0] - samples[len(samples) // 2][0])
    back = next(t1 for (t0, n0), (t1, n1) in zip(samples, samples[1:]) if n1 > n0 and (n1 - n0) / (t1 - t0) >= 0.9 * steady)
    first = next(t for t, n in samples if n)
    wrong = [f"{what}: {is_}, not {should} (log: {worker.log})" for what, is_, should in (
        ("events that died of the outage", end["dead"], 0), ("accepted while the API was away", down["accepted"], 0),
        ("contacts enrolled more than once", twice, 0), ("exit status of the worker", status, 0)) if is_ != should]
    return {"calls": (down["calls"] - calls) / OUTAGE_S, "idle": 100 * idle_cpu, "down_rss": down_rss / 1024 / 1024,
            "rss": rss / 1024 / 1024, "first": first - returned, "back": back - returned, "steady": steady}, wrong


def run_outage(options, servers, name):
    figures = {"down_rss": Figure("worker, peak memory while the API is away", "MiB", 1, ("<=", 128)),
               "rss": Figure("worker, peak memory up to the end", "MiB", 1, ("<=", 128)),
               "first": Figure("from the return to the first accepted event", "s", 1),
               "back": Figure("from the return to 90 % of the throughput", "s", 1, ("<=", 5)),
               "steady": Figure("throughput afterwards", "events/s"),
               "calls": Figure("calls a second while the API is away", "calls/s", 2, ("<=", 1)),
               "idle": Figure("processor meanwhile", "% of a core", 1)}
    runs = min(options.runs, OUTAGE_RUNS)
    result, wrong = Result(f"{OUTAGE_EVENTS:,} events queued, the API answers nothing but 500 for {OUTAGE_S} s, then as usual, "
                           f"{runs} run{'s' if runs > 1 else ''}", list(figures.values())), []
    topic = servers.backlog(OUTAGE_EVENTS)
    for run in range(1, runs + 1):
        label = f"{name:<10} run {run}/{runs}"
        folder = servers.folder / f"run-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        values, complaints = outage_run(servers, topic, folder, label)
        wrong += [f"{name}, run {run}: {complaint}" for complaint in complaints]
        result.add({figures[key].name: value for key, value in values.items()})
        done_line(f"{label}  {values['down_rss']:>6.1f} MiB  {values['calls']:.2f} calls/s  back in {values['back']:.1f} s"
                  f"  {values['steady']:>8,.0f} events/s")
        if not complaints:
            shutil.rmtree(folder, ignore_errors=True)
    return result, wrong


# --- programs that measure themselves ---

def rate_of(command, pattern):
    """(the number that `pattern` finds in its output, what was wrong)."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout)
    if done.returncode != 0 or not found:
        return None, [f"{command[0].name}: exit {done.returncode}\n{(done.stdout + done.stderr).strip()[-2000:]}"]
    return float(found[1]), []


def run_sim(options, _servers, name):
    jobs = sorted({1, os.cpu_count()})
    names = {count: f"{count} process{'es' if count > 1 else ''}" for count in jobs}
    result, wrong = Result(f"Simulation of the core, {options.seeds:,} seeds, {runs_text(options)}",
                           [Figure(names[count], "seeds/s") for count in jobs]), []
    for run in range(1, options.runs + 1):
        values = {}
        for count in jobs:
            progress(f"{name:<10} run {run}/{options.runs}  {names[count]}")
            value, complaints = rate_of([find_binary("sim-run"), "--seeds", options.seeds, "--jobs", count],
                                        r"([\d.]+) seeds/s")
            wrong += [f"{name}, run {run}: {complaint}" for complaint in complaints]
            if value is not None:
                values[names[count]] = value
        if len(values) < len(jobs):
            break # the same seeds fail again
        result.add(values)
        done_line(f"{name:<10} run {run}/{options.runs}  " + ", ".join(f"{key} {value:,.0f} seeds/s" for key, value in values.items()))
    return result, wrong


def run_stages(options, servers, name):
    """The simulator under its own load generator, both on this machine."""
    kinds = {"cleartext": [], "TLS": ["--tls", "--cafile", servers.sim.ca_file]}
    requests = min(LOAD_REQUESTS, options.events)
    result, wrong = Result(
        f"The contacts simulator alone, {requests:,} upserts by its load generator, {runs_text(options)}",
        [figure for kind in kinds for figure in (
            Figure(f"{kind}, beside the load generator", "upserts/s"),
            Figure(f"{kind}, in a second of its processor time", "upserts/s", target=(">=", 20000) if kind == "cleartext" else None))]), []
    for run in range(1, options.runs + 1):
        values = {}
        for kind, arguments in kinds.items():
            servers.sim.fresh()
            before = machine.cpu_us(servers.sim.process.pid)
            port = servers.sim.ports[1 if arguments else 0]
            value, complaints = rate_of([find_binary("contacts-sim-load"), "--port", port, "--requests", requests, "--key",
                                         servers.sim.key, *arguments], r" 0 not successful, .* ([\d.]+) req/s")
            wrong += [f"{name}, run {run}: {complaint}" for complaint in complaints]
            if value is not None:
                values[f"{kind}, beside the load generator"] = value
                used = machine.cpu_us(servers.sim.process.pid) - before
                values[f"{kind}, in a second of its processor time"] = 1e6 * requests / used
        if len(values) < 2 * len(kinds):
            break
        result.add(values)
        done_line(f"{name:<10} run {run}/{options.runs}  " + ", ".join(f"{value:,.0f}" for value in values.values()) + " upserts/s")
    return result, wrong


# --- all of it ---

def runs_text(options):
    return f"{options.runs} run{'s' if options.runs > 1 else ''}"


RUNNERS = {"cleartext": run_backlog, "tls": run_backlog, "shapes": run_shapes, "gate": run_gate, "latency": run_latency,
           "outage": run_outage, "sim": run_sim, "stages": run_stages}


def run_all(options, folder):
    """Returns ([(what, text)] of the machine and the programs, [Result], [what was wrong])."""
    build = os.environ["SIGNUP_BUILD"]
    results, wrong = [], []
    worker_version = subprocess.run([find_binary("signup-worker"), "--version"], capture_output=True, text=True,
                                    check=True).stdout.strip()
    with contextlib.ExitStack() as stack:
        servers = Servers(folder, stack) if set(options.only) - {"sim"} else None
        facts = machine.describe(folder)
        if servers:
            facts += servers.facts()
        facts += [("worker", f"{worker_version}, {machine.compiler(build)}"), ("libraries", machine.library_versions())]
        for name in options.only:
            result, complaints = RUNNERS[name](options, servers, name)
            wrong += complaints
            if result.figures[0].values:
                results.append(result)
    return facts, results, wrong
