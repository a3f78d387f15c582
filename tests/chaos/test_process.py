"""What happens to the process itself: suspended, starved, short of memory, descriptors or disk, a clock that jumps, told to
leave at the wrong moment; and what lies on the topic in an awkward way."""
import collections
import contextlib
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from results import figure, not_here, row
from scene import RSS_CAP_BYTES, SESSION_S, Prefixed, owned, wait_shared
from signup_harness import wait_until
from signups import LIST, Suspended, assert_enrolled_once, assert_never_two_at_once, calls, event, family, phone, wait_settled
from telling import summarize
from test_shutdown import stop_timed, watermarks

HERE = pathlib.Path(__file__).resolve().parent
FAKETIME = pathlib.Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


def rebalances(*workers):
    return sum(len(re.findall(r"the group has given", worker.log_text())) for worker in workers)


def cpu_s(worker):
    with open(f"/proc/{worker.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def state_of(worker):
    """The letter of /proc: T for one that is stopped."""
    with open(f"/proc/{worker.process.pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


# --- suspended and starved ---

def test_zombie(scene):
    """A worker is suspended far beyond its session and wakes up: its commits and records count no more."""
    zombie, other = scene.worker(), scene.worker()
    wait_shared([zombie, other], 4)
    scene.flow(120)
    scene.wait_flowing()
    with row(11, "worker suspended for long (zombie), then continued",
             f"SIGSTOP for {60 if scene.long else 6} s, session {SESSION_S:g} s",
             scene.broker) as found:
        scene.sim.latency(50, 150)  # so that calls are under way
        scene.let(0.5)
        zombie.pause()
        began = time.monotonic()
        wait_until(lambda: len(owned(other)) == 4, 30, "the other one has all partitions", interval=0.05)
        found.recovery(time.monotonic() - began, within=SESSION_S + 5)
        scene.sim.latency(3, 15)
        scene.let(max(0, (60 if scene.long else 6) - (time.monotonic() - began)), what="zombie")
        zombie.resume()
        found.note(f"a member again {wait_shared([zombie, other], 4):.1f} s after SIGCONT")
        scene.wait_flowing()
        verdict = scene.finish()
        found.note(f"{zombie.metric('signup_claims_refused_total'):.0f} of its records refused, {verdict.extra_calls} calls too many")
    summarize("zombie", scene.seed, 0, None, verdict, found.recovery_s)


def test_suspended_before_sending(scene):
    """A worker stands still just after it has decided on calls, beyond its leases, while another one finishes these events
    and later ones of the same contacts: when it goes on, none of those calls leaves."""
    zombie = scene.worker(environment={"SIGNUP_STOP_AT": "before_call_sent:40"})
    other = scene.worker()
    wait_shared([zombie, other], 4)
    scene.flow(120, returning=40)
    with row(11, "worker suspended between deciding on a call and sending it",
             "SIGSTOP at the crash point before_call_sent, SIGCONT once all is finished that it had", scene.broker) as found:
        wait_until(lambda: state_of(zombie) == "T", 30, "it stands still", interval=0.01)
        held = [one["event_id"] for one in scene.ledger.query("SELECT event_id FROM {schema}.event WHERE state = 'claimed'")]
        assert held
        wait_until(lambda: len(owned(other)) == 4, 30, "the other one has all partitions", interval=0.05)
        wait_until(lambda: not scene.ledger.query("SELECT 1 FROM {schema}.event WHERE event_id = ANY(%s) AND "
                                                  "state IN ('claimed', 'parked')", (held,)), 60, "the held ones are finished")
        scene.wait_flowing()
        zombie.resume()
        wait_shared([zombie, other], 4)
        scene.wait_flowing()
        lapsed = zombie.metric("signup_lapsed_total")
        assert lapsed > 0
        verdict = scene.finish()
        found.note(f"{lapsed:.0f} calls given up before they left, {verdict.extra_calls} calls too many")


@pytest.mark.long
def test_starved(scene):
    """Workers get every other 10 ms of the processor only: nobody is thrown out of the group."""
    pool = [scene.worker(kafka={"commit_interval": "200ms", "properties": {"session.timeout.ms": 3000,
                                                                        "heartbeat.interval.ms": 500}}) for _ in range(2)]
    wait_shared(pool, 4)
    scene.flow(120)
    scene.wait_flowing()
    with row(69, "processor taken away",
             f"SIGSTOP and SIGCONT every 10 ms for {60 if scene.long else 5} s, nice 19, session 3 s",
             scene.broker) as found:
        for worker in pool:
            os.setpriority(os.PRIO_PROCESS, worker.process.pid, 19)
        joined, stopped = rebalances(*pool), [False]

        def duty():
            for worker in pool:
                worker.resume() if stopped[0] else worker.pause()
            stopped[0] = not stopped[0]
        try:
            scene.let(60 if scene.long else 5, duty, "starved")
        finally:
            for worker in pool:
                worker.resume()
        found.recovery(scene.wait_flowing(), within=5)
        assert rebalances(*pool) == joined, "somebody was thrown out"
        scene.finish()
        found.note("no rebalance")


def test_lease_runs_out(scene):
    """A worker is suspended with parked events taken up, beyond their leases; another takes them up: one effect each, and
    what the first one records is refused."""
    first, second = scene.worker(), scene.worker()
    wait_shared([first, second], 4)
    scene.sim.faults([{"op": "upsert", "probability": 0.5, "action": {
        "kind": "answer", "status": 503, "code": "provider_error", "apply": False, "headers": {"Retry-After": "2"}}}])
    stream = scene.flow(60, returning=150, shares={"again": 60, "single": 40})
    with row(70, "lease of a parked event runs out while its worker lives",
             "SIGSTOP for twice the lease with taken-up events in work",
             scene.broker) as found:
        wait_until(lambda: min(one.metric("signup_taken_up_total") for one in (first, second)) > 0, 30, "taken up by both")
        scene.sim.latency(800, 1200)
        wait_until(lambda: (first.metric("signup_deliveries_taken_up") or 0) > 1, 30, "taken-up ones in work",
                   interval=0.005)
        first.pause()
        held = scene.ledger.query("SELECT event_id FROM {schema}.event WHERE state = 'parked' AND lease_until > now()")
        scene.sim.clear_faults()
        scene.sim.latency(3, 15)
        began = time.monotonic()
        wait_until(lambda: not scene.ledger.query("SELECT 1 FROM {schema}.event WHERE event_id = ANY(%s) AND state = 'parked'",
                                                  ([one["event_id"] for one in held],)), 60, "the held ones are finished")
        found.recovery(time.monotonic() - began, within=60)
        first.resume()
        scene.let(1)
        verdict = scene.finish()
        found.note(f"{len(held)} taken up and held, {first.metric('signup_claims_refused_total'):.0f} records refused, "
                   f"{verdict.extra_calls} calls too many of {stream.count} events")
        assert held
    figure("crash to rescue of parked work", "1 h (River, Oban)", "<= 60 s", f"{found.recovery_s:.1f} s (lease 3 s)")


# --- leaving ---

@pytest.mark.long
def test_told_to_leave(scene):
    """SIGTERM in a backlog: gone within 10 s, committed = watermark, the next worker finishes; a second one: at once."""
    scene.sim.latency(20, 60)
    count = 20000 if scene.long else 4000
    with row(64, "SIGTERM in a backlog", f"{count} events waiting; SIGTERM, then SIGTERM twice", scene.broker) as found:
        scene.topics.source.generate(count, contacts=count // 4)
        worker = scene.worker(limits={"shutdown": "10s", "lease": "3s"})
        scene.wait_finished(300)
        status, took = stop_timed(worker, 10)
        assert status == 0 and took <= 10, (status, took)
        for partition, (committed, lowest) in watermarks(scene.topics.source, scene.topics.group, scene.ledger).items():
            assert committed == lowest, f"partition {partition}: committed {committed}, watermark {lowest}"
        assert scene.finished() < count
        found.note(f"left after {took:.2f} s")
        worker.start()
        scene.wait_finished(scene.finished() + 100)
        scene.sim.fault({"kind": "hang", "at": "after_request"}, op="upsert")
        wait_until(lambda: worker.metric("signup_calls_in_flight") > 0, 10, "calls that hang")
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_log("shutting down")
        worker.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        worker.wait_exit(5)
        at_once = time.monotonic() - began
        assert at_once < 1
        found.note(f"told twice: {at_once:.2f} s")
        scene.sim.clear_faults()
        scene.sim.latency(0)
        worker.start()
        scene.wait_finished(count, 120)
        wait_settled(scene.topics.source, scene.topics.group)
        assert_enrolled_once(scene.sim)


@pytest.mark.long
def test_told_to_leave_while_all_hang(scene):
    """SIGTERM while the API, PostgreSQL, Kafka, and all of them at once take requests and answer nothing."""
    limit, took, produced = 4, {}, 0
    scene.sim.latency(5, 10)
    with row(65, "SIGTERM while broker, PostgreSQL and API hang",
             f"SIGSTOP of the servers, calls that hang; limits.shutdown {limit} s",
             scene.broker) as found:
        worker = scene.worker(limits={"shutdown": f"{limit}s", "lease": "5s"})
        for name in ("api", "postgres", "kafka", "everybody"):
            if not worker.is_running():
                worker.start()
            before = scene.finished()
            scene.topics.source.produce([event(n, skip_journey_if_exists=False) for n in range(produced, produced + 400)])
            produced += 400
            scene.wait_finished(before + 20)
            pids = family(scene.postgres.pid()) if name in ("postgres", "everybody") else []
            pids += [scene.broker.pid()] if name in ("kafka", "everybody") and scene.broker.is_real else []
            if name in ("api", "everybody"):
                scene.sim.fault({"kind": "hang", "at": "after_request", "apply": True}, op="upsert")
                seen = len(calls(scene.sim))
                wait_until(lambda: len(calls(scene.sim)) > seen or worker.metric("signup_calls_in_flight") > 0, 10,
                           "hanging calls")
            with Suspended(*pids):
                status, took[name] = stop_timed(worker, limit)
            scene.sim.clear_faults()
            assert status == 0 and took[name] <= limit + 1, (name, status, took[name])
        scene.sim.latency(0)
        worker.start()
        scene.ledger.wait_states(accepted=produced, timeout=60)
        wait_settled(scene.topics.source, scene.topics.group)
        assert_enrolled_once(scene.sim)
        found.note(", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
    figure("shutdown", "unbounded drain (Parallel Consumer)", "<= 10 s with all three peers hung",
           f"{took['everybody']:.1f} s with all three hung (limit {limit} s)")


# --- short of something ---

@contextlib.contextmanager
def tiny_disk(folder, size):
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)


def test_log_disk_full(scene, tmp_path):
    """The disk that the log goes to is full: signups go on, lost lines are counted."""
    with tiny_disk(tmp_path / "disk", "64k") as mounted:
        if not mounted:
            not_here(66, "disk of the log full", "mounting a tmpfs needs root")
            pytest.skip("cannot mount")
        with row(66, "disk of the log full", "standard error on a tmpfs of 64 KiB that is full", scene.broker) as found:
            worker = scene.worker(start=False, log={"level": "debug"})
            worker.log = tmp_path / "disk" / "log"
            (tmp_path / "disk" / "fill").write_bytes(b"x" * 40960)
            worker.start()
            scene.flow(200)
            scene.wait_finished(600)
            dropped = worker.metric("signup_log_lines_dropped_total")
            scene.finish()
            assert dropped > 0
            found.note(f"{dropped:.0f} lines dropped and counted, nothing else")
            assert worker.stop() == 0


def own_worker(scene, tmp_path, name, prefix=(), environment=None, **changes):
    """A worker whose log nobody judges, and that may die."""
    model = scene.worker(start=False, name=f"{name}-model", **changes)
    scene.made.remove(model)
    one = Prefixed(tmp_path / name, model.config, environment, name)
    one.prefix = prefix
    scene.made.append(one)
    return one


def test_no_memory(scene, tmp_path):
    """The n-th allocation of a process fails, for many n: it goes on or ends, and whatever it does, nothing is lost or
    done twice."""
    library = tmp_path / "failing_malloc.so"
    done = subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "failing_malloc.c"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    worker = own_worker(scene, tmp_path, "oom")
    scene.flow(150)
    lives, ends = 200 if scene.long else 5, collections.Counter()
    with row(67, "an allocation fails", f"preloaded malloc, one failure a life at the n-th call, {lives} lives",
             scene.broker) as found:
        for number in range(lives):
            nth = int(10 ** scene.dice.uniform(0, 4.3))
            worker.environment = {"LD_PRELOAD": str(library), "FAIL_NTH": str(nth)}
            worker.start()
            worker.process.send_signal(signal.SIGUSR2)
            scene.let(scene.dice.uniform(0.1, 0.7), what=f"life {number + 1} of {lives}, {dict(ends)}")
            if worker.is_running():
                ends["went on"] += 1
                status = worker.stop()
                assert status in (0, -signal.SIGABRT, -signal.SIGSEGV), status
            else:
                ends[signal.Signals(-worker.process.returncode).name if worker.process.returncode < 0
                     else f"exit {worker.process.returncode}"] += 1
        worker.environment = {}
        worker.start()
        verdict = scene.finish()
        found.note(f"{dict(ends)}; {verdict.events} events, {verdict.extra_calls} calls too many")
        assert not ends["SIGSEGV"], "a failed allocation was written through"
        worker.stop()
    figure("failure sweep", "-", "fail-nth malloc over a run: 0 invariant breaks",
           f"{lives} lives, each one failed allocation: "
           f"{dict(ends)}; 0 invariant breaks")
    summarize("no memory", scene.seed, lives, None, verdict)


@pytest.mark.long
def test_address_space(scene, tmp_path):
    """The address space is limited to little more than what an idle worker has."""
    worker = own_worker(scene, tmp_path, "cramped")
    worker.start()
    with open(f"/proc/{worker.process.pid}/status", encoding="ascii") as file:
        idle_kb = int(re.search(r"VmPeak:\s+(\d+) kB", file.read())[1])
    assert worker.stop() == 0
    scene.sim.latency(100, 200)
    deaths = 0
    with row(67, "address space limited", "prlimit --as: 4 MiB beyond an idle worker, a backlog of large events",
             scene.broker) as found:
        worker.prefix = ["prlimit", f"--as={(idle_kb << 10) + (4 << 20)}"]
        padding = "x" * 3000
        events = [event(number, event_id=f"large-{number}", consent={"text": padding}) for number in range(20000)]
        scene.topics.source.produce(events)
        worker.start(ready=False)
        end = time.monotonic() + (30 if scene.long else 6)
        def step():
            nonlocal deaths
            if not worker.is_running():
                deaths += 1
                worker.start(ready=False)
            return time.monotonic() > end
        wait_until(step, 90, "some time", interval=0.1)
        if worker.is_running():
            worker.kill()
        worker.prefix = ()
        scene.sim.latency(0)
        worker.start()
        scene.ledger.wait_states(accepted=len(events), timeout=120)
        assert_enrolled_once(scene.sim)
        found.note(f"{deaths} deaths under the limit, nothing lost")
        assert worker.stop() == 0


def test_no_descriptors(scene, tmp_path):
    """64 descriptors for a worker that may make 256 calls at a time: no spinning, everything is done."""
    worker = own_worker(scene, tmp_path, "narrow", ["prlimit", "--nofile=64"], contacts_api={
        "base_url": scene.sim.base_url(), "validation_url": scene.sim.validation_url(), "max_in_flight": 256,
        "timeout": "3s"},
        limits={"lease": "5s"})
    scene.sim.latency(300, 600)
    with row(68, "no descriptors left", "prlimit --nofile=64, 256 calls at a time, answers after 0.3-0.6 s",
             scene.broker) as found:
        worker.start()
        scene.flow(250, duplicates=0, shares={"again": 50, "single": 50})
        scene.let(2)
        before, began = cpu_s(worker), time.monotonic()
        scene.let(4)
        load = (cpu_s(worker) - before) / (time.monotonic() - began)
        assert load < 0.6, f"{load:.0%} of a processor"
        scene.sim.latency(3, 10)
        verdict = scene.finish()
        assert worker.stop() == 0
        found.note(f"{load:.0%} of a processor meanwhile, {verdict.events} events")


# --- surroundings ---

def test_proxy_in_the_environment(scene):
    """Variables that name a proxy are not followed: the key goes nowhere else."""
    with row(53, "proxy variables in the environment", "http_proxy, https_proxy, all_proxy point to a closed port",
             scene.broker) as found:
        nowhere = "http://127.0.0.1:9"
        scene.worker(environment={"http_proxy": nowhere, "https_proxy": nowhere, "all_proxy": nowhere, "ALL_PROXY": nowhere,
                                  "HTTP_PROXY": nowhere})
        scene.topics.source.produce([event(number) for number in range(50)])
        scene.ledger.wait_states(accepted=50)
        assert len(calls(scene.sim)) == 50
        found.note("50 of 50 accepted, one call each")


def clock_off_s(worker):
    """How far the clock of a worker's newest log line is from ours."""
    stamps = re.findall(r"^time=(\S+)Z", worker.log_text(), re.MULTILINE)
    told = datetime.datetime.fromisoformat(stamps[-1]).replace(tzinfo=datetime.timezone.utc)
    return told.timestamp() - time.time()


@pytest.mark.parametrize("jump,seconds", [
    pytest.param("+1h", 3600, id="+1h"), pytest.param("-1h", -3600, id="-1h", marks=pytest.mark.long),
    pytest.param("+10y", 315360000, id="+10y", marks=pytest.mark.long)])
def test_clock_jumps(scene, tmp_path, jump, seconds):
    """The process's clock jumps while it works: no storm, no eviction, dates stay those of the records."""
    fault = f"clock jumps by {jump}"
    if not FAKETIME.exists():
        not_here(54, fault, "the package faketime is not installed")
        pytest.skip("no faketime")
    not_here(54, "clock of the whole machine set, timed waits of the kernel included",
             "other programs of the machine would suffer: "
             "a virtual machine of its own is needed")
    stamp = tmp_path / "clock"
    stamp.write_text("+0")
    with row(54, fault, "libfaketime in the process, wall clock only, in the middle of a stream", scene.broker) as found:
        worker = scene.worker(environment={"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(stamp),
                                           "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
        scene.flow(60, shares={"again": 60, "single": 35, "bad": 5})
        scene.wait_flowing()
        joined = rebalances(worker)
        stamp.write_text(jump)
        scene.let(2, what=jump)
        found.recovery(scene.wait_flowing(), within=5)
        scene.let(4, what=jump)
        scene.wait_flowing()
        assert abs(clock_off_s(worker) - seconds) < 86400 * 4 * (seconds > 86400) + 60, "the clock did not jump"
        assert rebalances(worker) == joined, "it lost its membership"
        verdict = scene.finish()
        late = scene.ledger.query("SELECT count(*) AS n FROM {schema}.event "
                                  "WHERE abs(extract(epoch FROM signup_date - received_at)) > 600")
        assert late[0]["n"] == 0, "a date followed the clock"
        assert verdict.extra_calls == 0
        found.note(f"{verdict.events} events, one call each")


# --- what is on the topic ---

def count_accepted(scene, kind):
    """Accepted events whose id begins with the word."""
    if not scene.ledger.states():
        return 0
    return scene.ledger.query("SELECT count(*) AS n FROM {schema}.event WHERE state = 'accepted' AND event_id LIKE %s",
                              (f"{kind}-%",))[0]["n"]


def test_duplicates(scene):
    """The same event again: in the same batch, in another partition, an hour later by its timestamp, after it is final."""
    with row(60, "duplicate events", "same id in the same batch, another partition, an hour later, and once more when final",
             scene.broker) as found:
        count = 400
        events = [event(number, skip_journey_if_exists=False) for number in range(count)]
        workers = [scene.worker(), scene.worker()]
        wait_shared(workers, 4)
        scene.sim.latency(10, 40)
        source = scene.topics.source
        source.produce([one for one in events for _ in range(2)])
        source.produce(events, partition=0)
        source.produce(events, timestamp_ms=int(time.time() * 1000) + 3600000)
        scene.ledger.wait_states(accepted=count, timeout=60)
        source.produce(events, partition=3)
        wait_settled(source, scene.topics.group)
        scene.ledger.wait_states(accepted=count)
        assert len(calls(scene.sim)) == count
        assert_enrolled_once(scene.sim)
        found.note(f"{count} events five times each: {count} calls, {5 * count} offsets answered for")


def test_out_of_order(scene):
    """Numbers that come as 3, 1, 2: the partition's order is the rule, and never two at a time."""
    with row(61, "events of a contact out of order", "numbers 3, 1, 2 of each contact on the topic", scene.broker) as found:
        workers = [scene.worker(), scene.worker()]
        wait_shared(workers, 4)
        scene.topics.source.produce([event(number, event_id=f"{number}-{seq}", custom_fields={"seq": seq})
                                     for seq in (3, 1, 2) for number in range(200)])
        scene.ledger.wait_states(accepted=600)
        for number in range(200):
            assert scene.sim.contact(phone(number), LIST)["seqs"] == [3, 1, 2]
        assert_never_two_at_once(scene.sim)
        found.note("rule: by offset; 200 contacts, 0 overlaps")


def test_hot_key(scene):
    """Half of the traffic is one contact: its events go one by one and in order, the others at full speed."""
    count = 6000 if scene.long else 250
    scene.sim.latency(10, 10)
    with row(62, "one contact is half of the traffic", f"{count} events of it between {count} of others, one partition",
             scene.broker) as found:
        hot = [event(0, event_id=f"hot-{seq}", custom_fields={"seq": seq}) for seq in range(count)]
        cold = [event(number, event_id=f"cold-{number}") for number in range(1, count + 1)]
        scene.topics.source.produce([one for pair in zip(hot, cold) for one in pair], partition=0)
        began = time.monotonic()
        worker = scene.worker()
        wait_until(lambda: count_accepted(scene, "cold") == count, 60,
                   lambda: f"the others, {count_accepted(scene, 'cold')} of {count}")
        others, behind = time.monotonic() - began, count_accepted(scene, "hot")
        assert behind < count, "the hot one must still be at it"
        rss = worker.rss_bytes()
        scene.ledger.wait_states(accepted=2 * count, timeout=40 + count / 50)
        seqs = [json.loads(line["body"])["custom_fields"]["seq"] for line in calls(scene.sim, phone=phone(0))]
        assert seqs == list(range(count))
        assert_never_two_at_once(scene.sim)
        assert rss <= RSS_CAP_BYTES
        found.note(f"others done after {others:.1f} s with {behind} of the hot ones done, {rss >> 20} MiB")


@pytest.mark.long
@pytest.mark.partitions(8)
def test_backlog(scene):
    """A large backlog and a kill inside it: memory flat, offsets right, the rate that of a steady state."""
    count = 1000000 if scene.long else 30000
    fault = "backlog and a restart inside it"
    with row(63, fault, f"{count} events waiting, kill -9 and start at a third", scene.broker) as found:
        scene.sim.latency(0)
        for first in range(0, count, 100000):
            scene.broker.tool("produce", "--topic", scene.topics.source.name, "--gen", min(100000, count - first),
                              "--first", first,
                              "--contacts", count, "--seed", 1, timeout=300)
        workers = [scene.worker(contacts_api={"base_url": scene.sim.base_url(), "validation_url": scene.sim.validation_url(),
                                              "max_in_flight": 64, "timeout": "3s"},
                                              limits={"lease": "5s"}) for _ in range(2)]
        scene.watch()
        began = time.monotonic()
        def finished():
            states = scene.ledger.states()
            scene.progress.show(f"{sum(states.values())} of {count}")
            return states.get("accepted", 0)
        wait_until(lambda: finished() >= count // 3, 600, "a third", interval=0.2)
        first_rate, first_rss = finished() / (time.monotonic() - began), max(one.rss_bytes() for one in workers)
        workers[0].kill()
        workers[0].start(ready=False)
        again, before = time.monotonic(), finished()
        wait_until(lambda: finished() >= count, 1800, lambda: f"{count} finished, but {scene.ledger.states()}", interval=0.2)
        second_rate = (count - before) / (time.monotonic() - again)
        wait_settled(scene.topics.source, scene.topics.group)
        scene.finish()
        assert scene.sim.stats()["enrolled_more_than_once"] == 0
        last_rss = max(one.rss_bytes() for one in workers)
        scene.note_memory(found)
        found.note(f"{first_rate:.0f} events a second before, {second_rate:.0f} after; {first_rss >> 20} MiB at a "
                   f"third, {last_rss >> 20} at the end")
    if scene.long:
        figure("memory", "OOM (Parallel Consumer)", "<= 128 MiB RSS at 10 M backlog",
               f"{scene.watcher.rss_bytes >> 20} MiB at a backlog of {count}")


ALL_PARKED_AND_DUE = """
UPDATE {schema}.event e
SET state = 'parked', due_at = now(), token = NULL, lease_until = NULL, attempts = 0, maybe_sent = false,
    replays = replays + 1, age_from = now(), finished_at = NULL, park_order = w.place
FROM (SELECT event_id, row_number() OVER (ORDER BY "partition", "offset") AS place FROM {schema}.event) w
WHERE w.event_id = e.event_id"""


@pytest.mark.partitions(4)
def test_all_due_at_once(scene):
    """Parked events that are all due at the same time come back at the gate's pace, mixed fairly with fresh traffic, and
    each contact's in order, its fresh ones behind."""
    count = 100000 if scene.long else 3000
    contacts = count // 2
    with row(71, f"{count} parked events due at once", "dead rows made parked and due in the ledger, fresh events meanwhile",
             scene.broker) as found:
        scene.sim.latency(0)
        scene.sim.fault({"kind": "answer", "status": 400, "code": "not_sendable", "apply": False}, op="upsert")
        events = [event(number, event_id=f"old-{number}-{seq}", custom_fields={"seq": seq}) for seq in range(2)
                  for number in range(contacts)]
        scene.topics.source.produce(events)
        worker = scene.worker(retry={"fuse": 0, "max_age": "1h", "max_attempts": 1000})
        scene.ledger.wait_states(dead=count, timeout=300)
        wait_until(lambda: not scene.ledger.query("SELECT 1 FROM {schema}.event WHERE dead_letter_published_at IS NULL LIMIT 1"),
                   120, "all letters marked", interval=0.2)
        wait_settled(scene.topics.source, scene.topics.group)
        scene.sim.fresh()
        scene.sim.latency(2, 6)
        scene.ledger.query(ALL_PARKED_AND_DUE)
        scene.ledger.query("SELECT setval('{schema}.park_order', %s)", (count,))
        began = time.monotonic()
        fresh = [event(number, event_id=f"fresh-{number}", custom_fields={"seq": 2}) for number in range(contacts)][:2000]
        others = [event(contacts + number, event_id=f"new-{number}") for number in range(500)]
        scene.topics.source.produce(fresh + others)
        most = 0
        def new_done():
            nonlocal most
            most = max(most, worker.metric("signup_calls_in_flight") or 0)
            return count_accepted(scene, "new") == len(others)
        wait_until(new_done, 60, "fresh events of other contacts")
        fresh_s, waiting = time.monotonic() - began, scene.ledger.states().get("parked", 0)
        total = count + len(fresh) + len(others)
        wait_until(lambda: scene.ledger.states() == {"accepted": total}, 600,
                   lambda: f"{total} accepted, but {scene.ledger.states()}",
                   interval=0.3)
        took = time.monotonic() - began
        seqs = [scene.sim.contact(phone(number),
                                  LIST)["seqs"] for number in scene.dice.sample(range(min(contacts, 2000)), 300)]
        assert all(one == [0, 1, 2] for one in seqs), [one for one in seqs if one != [0, 1, 2]][:3]
        assert_never_two_at_once(scene.sim)
        assert_enrolled_once(scene.sim)
        assert most <= 24, f"{most} calls at once"
        found.recovery(took)
        found.note(f"{count / took:.0f} a second; 500 fresh ones of others done after {fresh_s:.1f} s with {waiting} still parked; "
                   f"at most {most:.0f} calls at once")
