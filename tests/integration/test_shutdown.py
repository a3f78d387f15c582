"""The end: SIGTERM finishes what is under way, within its limit, whoever hangs."""
import signal
import time

import pytest

from signup_harness import wait_until
from signups import (LIST, Suspended, assert_enrolled_once, assert_one_final_row_each, calls, event, family, phone,
                     wait_settled)


@pytest.fixture(scope="module")
def postgres(own_postgres):
    """These tests suspend their PostgreSQL: it is not the one that the other files use."""
    return own_postgres


def watermarks(topic, group, ledger):
    """{partition: (committed, lowest offset without a final row)}."""
    final = {(row["partition"], row["offset"]) for row in ledger.rows("state IN ('accepted', 'dead')")}
    found = {}
    for partition, entry in topic.offsets(group).items():
        lowest = 0
        while (partition, lowest) in final:
            lowest += 1
        found[partition] = (max(entry["committed"], 0), lowest)
    return found


def stop_timed(worker, limit):
    """Exit status of SIGTERM and how long it took; kills what outlives the limit by far."""
    began = time.monotonic()
    try:
        status = worker.stop(timeout=limit + 15)
    except Exception as error:
        worker.kill()
        raise AssertionError(f"still there {limit + 15} s after SIGTERM") from error
    return status, time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_sigterm_in_a_backlog(topics, ledger, workers, sim, number):
    """In the middle of a backlog: exit 0 well within limits.shutdown, every call under way recorded, every claim given
    back, committed = watermark on every partition. The next worker finishes the rest without one call too many."""
    sim.latency(20, 60)
    events = topics.source.generate(4000, contacts=1000)
    worker = workers(contacts_api={"max_in_flight": 64})
    wait_until(lambda: ledger.states().get("accepted", 0) >= 500, 30, "a backlog under way")
    began = time.monotonic()
    worker.process.send_signal(number)
    assert worker.wait_exit() == 0
    assert time.monotonic() - began < 10
    states = ledger.states()
    assert 500 <= states["accepted"] < 4000, "the backlog was over before the signal"
    for partition, (committed, lowest) in watermarks(topics.source, topics.group, ledger).items():
        assert committed == lowest, f"partition {partition}: committed {committed}, watermark {lowest}"
    assert ledger.rows("state = 'claimed' AND lease_until > now()") == [], "a claim was not given back"
    assert len(calls(sim)) == states["accepted"]

    sim.latency(0)
    worker.start()
    ledger.wait_states(accepted=4000)
    wait_settled(topics.source, topics.group)
    assert len(calls(sim)) == 4000
    assert_one_final_row_each(ledger, [one["event_id"] for one in events])
    assert {row["attempts"] for row in ledger.rows()} == {1}
    assert_enrolled_once(sim)


def test_second_signal_leaves_at_once(topics, ledger, workers, sim):
    """While a call hangs SIGTERM waits for it; a second SIGTERM ends the process immediately."""
    sim.fault({"kind": "hang", "at": "after_request"}, op="upsert", phone=phone(1))
    worker = workers()
    topics.source.produce([event(1)])
    wait_until(lambda: calls(sim), 10, "the call that hangs")
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_log("shutting down")
    assert worker.is_running()
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_exit(20) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert time.monotonic() - began < 5, "it waited for the call"  # which has 10 s
    worker.wait_log("told twice to stop")


def test_sigterm_while_servers_hang(broker, topics, ledger, postgres, workers, sim):
    """API, PostgreSQL, Kafka, and all of them at once take requests and answer nothing: SIGTERM still exits 0 within
    limits.shutdown plus a second. Afterwards the next worker finishes everything, and nobody was enrolled twice."""
    limit = 3
    sim.latency(40, 60)
    worker = workers(limits={"shutdown": f"{limit}s"}, contacts_api={"max_in_flight": 16})
    hang = {"kind": "hang", "at": "after_request", "apply": True}
    took = {}
    produced = 0
    for name in ("nobody", "api", "postgres", "kafka", "everybody"):
        if not worker.is_running():
            worker.start()
        before = ledger.states().get("accepted", 0)
        topics.source.produce([event(n, skip_journey_if_exists=False) for n in range(produced, produced + 800)])
        produced += 800
        wait_until(lambda: ledger.states().get("accepted", 0) >= before + 20, 30, "work under way")
        pids = (family(postgres.pid()) if name in ("postgres", "everybody") else [])
        pids += [broker.pid()] if name in ("kafka", "everybody") and broker.is_real else []
        if name in ("api", "everybody"):
            sim.fault(hang, op="upsert")
            seen = len(calls(sim))
            wait_until(lambda: len(calls(sim)) > seen or worker.metric("signup_calls_in_flight") == 16, 10, "hanging calls")
        with Suspended(*pids):
            status, took[name] = stop_timed(worker, limit)
        sim.clear_faults()
        assert status == 0, f"{name}: exit {status}"
        assert took[name] <= limit + 1, f"{name}: {took[name]:.2f} s"
        for partition, (committed, lowest) in watermarks(topics.source, topics.group, ledger).items():
            assert committed <= lowest, f"{name}: partition {partition} was committed beyond its watermark"
    print({name: f"{seconds:.2f} s" for name, seconds in took.items()})
    assert took["nobody"] < limit
    sim.latency(0)
    worker.start()
    ledger.wait_states(accepted=produced, timeout=60)
    wait_settled(topics.source, topics.group)
    assert_enrolled_once(sim)


def test_sigterm_while_nothing_is_there(broker, topics, ledger, postgres, workers, sim):
    """A worker that has never reached its servers leaves as quickly as any other."""
    postgres.stop()
    try:
        worker = workers(start=False, kafka={"brokers": "127.0.0.1:9"}, limits={"shutdown": "3s"}).start(ready=False)
        worker.wait_not_ready(reason="postgres")
        worker.wait_log("Kafka is away")
        status, took = stop_timed(worker, 3)
        assert status == 0 and took <= 4, (status, took)
    finally:
        postgres.start()


def test_sigterm_while_letters_wait(topics, ledger, workers, sim):
    """A dead-letter topic that is missing does not hold up the exit; the letters stay due in the ledger."""
    worker = workers(kafka={"dead_letter_topic": topics.source.name + "-never"}, limits={"shutdown": "3s"})
    topics.source.produce([event(1, phone_number="1"), event(2)])
    ledger.wait_states(accepted=1, dead=1)
    wait_settled(topics.source, topics.group)
    status, took = stop_timed(worker, 3)
    assert status == 0 and took <= 4, (status, took)
    assert ledger.row("e-1")["dead_letter_published_at"] is None
    ledger.query("UPDATE {schema}.event SET lease_until = now() WHERE event_id = 'e-1'")  # the lease of the first try is over
    worker.reconfigure(kafka={"dead_letter_topic": topics.dead_letter.name})
    worker.start()
    wait_until(lambda: len(topics.dead_letter.consume()) == 1, 30, "the letter", interval=0.2)
    wait_until(lambda: ledger.row("e-1")["dead_letter_published_at"], 10, "the mark")
    assert sim.contact(phone(2), LIST)["enrolments"] == 1


def test_idle_worker_leaves_quickly(worker):
    """With nothing to do the exit takes no time to speak of."""
    status, took = stop_timed(worker, 10)
    assert status == 0 and took < 2, took
