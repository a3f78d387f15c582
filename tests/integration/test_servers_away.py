"""Servers that are away, from the start or in the middle: the worker says so, waits, loses nothing and comes back."""
import os
import time

import pytest

from signup_harness import free_port, wait_until
from signups import (LIST, Suspended, assert_enrolled_once, assert_never_two_at_once, assert_one_final_row_each, calls,
                     event, family, phone, wait_settled)

RECOVERY_S = 5.0


@pytest.fixture(scope="module")
def postgres(own_postgres):
    """These tests stop their PostgreSQL: it is not the one that the other files use."""
    return own_postgres


@pytest.fixture(autouse=True)
def servers_are_back(postgres, broker, shared_sim):
    """Whatever a failed test has left behind, the next one finds its servers running."""
    yield
    if not is_up(postgres):
        postgres.start()
    if not shared_sim.is_running():
        shared_sim.start()


def is_up(postgres):
    try:
        os.kill(postgres.pid(), 0)
    except OSError:
        return False
    return True


def outage_of(seconds):
    """The fault lasts so long, by the clock."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 1, "the end of the outage")


def recovered(what, since, condition, capsys, limit=RECOVERY_S):
    """Waits for the condition, prints and limits how long that took."""
    wait_until(condition, limit + 25, f"recovery after {what}")
    took = time.monotonic() - since
    with capsys.disabled():
        print(f"\n    recovered from {what} in {took:.2f} s", end="")
    assert took <= limit, f"{what}: {took:.2f} s"


def lines(worker, text):
    return [line for line in worker.log_text().splitlines() if text in line]


def uptime_is(worker, seconds):
    return lambda: worker.status()["uptime_seconds"] >= seconds


def test_start_while_postgres_is_away(topics, ledger, postgres, workers, sim, capsys):
    """PostgreSQL is away when the worker starts: one log line says who, since when and what the worker does meanwhile;
    /readyz is 503 with the reason; no call is made (no claim, no call); it comes back by itself."""
    topics.source.produce([event(number) for number in range(50)])
    postgres.stop()
    worker = workers(start=False).start(ready=False)
    assert "postgres" in worker.wait_not_ready(reason="postgres: ")
    wait_until(uptime_is(worker, 4), 20, "four seconds of waiting")
    [line] = lines(worker, "PostgreSQL is away")
    assert "level=warn" in line and "since=" in line and f"server=127.0.0.1:{postgres.port}" in line
    assert "consuming nothing and calling nobody" in line and "why=" in line
    server = {entry["name"]: entry for entry in worker.status()["servers"]}["postgres"]
    assert not server["connected"] and server["since"] and server["why"]
    assert worker.get("/livez")[0] == 200 and calls(sim) == []

    postgres.start()
    recovered("PostgreSQL away at the start", time.monotonic(), worker.is_ready, capsys)
    ledger.wait_states(accepted=50)
    assert len(lines(worker, "PostgreSQL is back")) == 1
    assert len(lines(worker, "PostgreSQL is away")) == 1


def test_start_while_the_api_is_away(topics, ledger, workers, sim, capsys):
    """The API refuses connections when the worker starts with a backlog: the route is held, said in one line and on
    /readyz; no event is dead, none spends an attempt for a call that never left; it comes back by itself."""
    topics.source.produce([event(number) for number in range(100)])
    sim.kill()
    worker = workers(start=False).start(ready=False)
    worker.wait_not_ready(reason="contacts_api: transport")
    outage_of(3)
    [line] = lines(worker, "the contacts API fails for everybody")
    assert "level=warn" in line and "why=" in line
    assert not ledger.states().get("dead") and "accepted" not in ledger.states()
    sim.start()
    recovered("the API away at the start", time.monotonic(), worker.is_ready, capsys)
    ledger.wait_states(accepted=100)
    assert {row["attempts"] for row in ledger.rows()} == {1}
    assert not any(row["maybe_sent"] for row in ledger.rows())
    assert len(lines(worker, "the contacts API answers again")) == 1


def test_start_while_kafka_is_away(broker, topics, ledger, workers, sim, capsys):
    """Kafka is away when the worker starts: one line, /readyz 503 with the reason, everything after the return."""
    if not broker.is_real:
        pytest.skip("the mock cluster is not killed")
    topics.source.produce([event(number) for number in range(50)])
    broker.kill()
    try:
        worker = workers(start=False).start(ready=False)
        worker.wait_log("Kafka is away")
        worker.wait_not_ready(reason="kafka: ")
    finally:
        broker.start()
    recovered("Kafka away at the start", time.monotonic(), worker.is_ready, capsys)
    ledger.wait_states(accepted=50)
    [line] = lines(worker, "Kafka is away")
    assert "level=warn" in line and "brokers=" in line and "error=" in line and "nothing is lost" in line
    assert worker.stop() == 0


def test_a_topic_that_comes_later(broker, topics, ledger, workers, sim):
    """A source topic that does not exist yet is waited for, by name, while the other one is consumed."""
    late = topics.source.name + "-late"
    worker = workers(kafka={"topics": [topics.source.name, late]})
    topics.source.produce([event(1)])
    ledger.wait_states(accepted=1)
    worker.wait_log(f"a topic does not exist.*{late}")
    broker.create_topic(late, 2).produce([event(2)])
    ledger.wait_states(accepted=2, timeout=60)


def slow_stream(topics, sim, workers, count):
    """A backlog that takes some seconds: `count` events of count / 10 contacts, 20 calls of 20 ms at a time."""
    sim.latency(10, 30)
    events = topics.source.generate(count, contacts=count // 10)
    return events, workers(contacts_api={"max_in_flight": 20}, postgres={"timeout": "1s", "connect_timeout": "1s"})


def accepted(ledger, at_least):
    return lambda: ledger.states().get("accepted", 0) >= at_least


def assert_nothing_lost(topics, ledger, sim, events, timeout=90):
    """Every event accepted and committed, nobody enrolled twice, never two calls of one contact at a time, and the
    contact's events in their order."""
    ledger.wait_states(accepted=len(events), timeout=timeout)
    wait_settled(topics.source, topics.group)
    assert_one_final_row_each(ledger, [one["event_id"] for one in events])
    assert_enrolled_once(sim)
    assert_never_two_at_once(sim)
    number = events[0]["phone_number"]
    expected = [one["custom_fields"]["seq"] for one in events if one["phone_number"] == number]
    seen = sim.contact(number, events[0]["list_number"])["seqs"]
    assert list(dict.fromkeys(seen)) == expected and seen == sorted(seen)
    assert topics.dead_letter.consume() == []


def test_postgres_goes_in_the_middle(topics, ledger, postgres, workers, sim, capsys):
    """PostgreSQL is restarted fast, restarted immediately, killed with -9, its backend suspended, the whole server
    suspended, all in one stream: nothing lost, nothing twice, order kept, back within seconds each time."""
    events, worker = slow_stream(topics, sim, workers, 12000)

    def suspend(pids):
        with Suspended(*pids):
            if len(pids) > 1:
                worker.wait_not_ready(reason="postgres: ")
            else:
                worker.wait_log("PostgreSQL is away", after=seen)

    def backends():
        rows = postgres.execute(postgres.admin_dsn, "SELECT pid FROM pg_stat_activity WHERE datname = %s AND "
                                "backend_type = 'client backend' AND pid <> pg_backend_pid() AND state IS NOT NULL "
                                "AND application_name ~ 'signup'", (ledger.dsn.rsplit("/", 1)[1],))
        return [row[0] for row in rows]

    faults = [("a fast restart", lambda: postgres.restart("fast")),
              ("an immediate restart", lambda: postgres.restart("immediate")),
              ("kill -9", lambda: (postgres.kill(), postgres.start())),
              ("a suspended backend", lambda: suspend(backends()[:1])),
              ("a suspended server", lambda: suspend(family(postgres.pid())))]
    for number, (name, fault) in enumerate(faults):
        wait_until(accepted(ledger, 300 + 900 * number), 60, f"progress before {name}: {ledger.states()}")
        seen = len(worker.log_text())
        fault()
        since, count = time.monotonic(), ledger.states().get("accepted", 0)
        recovered(f"{name} of PostgreSQL", since, accepted(ledger, count + 20), capsys)
    assert ledger.states().get("accepted", 0) < len(events), "the stream was over before the faults were"
    sim.latency(0)
    assert_nothing_lost(topics, ledger, sim, events)


def test_no_claim_no_call(topics, ledger, postgres, workers, sim):
    """While PostgreSQL is away nobody is called: calls under way end, then the book stays as it is."""
    events, worker = slow_stream(topics, sim, workers, 3000)
    wait_until(accepted(ledger, 200), 30, "a stream")
    postgres.stop("immediate")
    worker.wait_not_ready(reason="postgres: ")
    outage_of(1)
    before = len(calls(sim))
    outage_of(3)
    assert len(calls(sim)) == before
    assert worker.metric("signup_calls_in_flight") == 0
    postgres.start()
    sim.latency(0)
    assert_nothing_lost(topics, ledger, sim, events)


def test_api_down_for_ten_seconds(topics, ledger, workers, sim, capsys):
    """The API resets every connection for ten seconds: the breaker opens, at most one probe a second goes out, intake
    pauses, no event is dead; afterwards everything is accepted in order."""
    events, worker = slow_stream(topics, sim, workers, 4000)
    wait_until(accepted(ledger, 300), 30, "a stream")
    sim.fault({"kind": "reset", "at": "accept"})
    sim.fault({"kind": "reset", "at": "before_read"})
    worker.wait_not_ready(reason="contacts_api: transport")
    outage_of(1)
    mark = len(sim.book())
    outage_of(9)
    probes = [line for line in sim.book()[mark:] if line["phase"] == "fault"]
    assert 1 <= len(probes) <= 9, len(probes)
    gaps = [(b["at_us"] - a["at_us"]) / 1e6 for a, b in zip(probes, probes[1:])]
    assert not gaps or min(gaps) >= 0.95, gaps
    status = worker.status()
    assert not status["intake"]["open"] and status["intake"]["why"]
    assert not ledger.states().get("dead")
    count = ledger.states()["accepted"]
    sim.clear_faults()
    recovered("ten seconds without the API", time.monotonic(), accepted(ledger, count + 20), capsys, RECOVERY_S + 0.5)
    sim.latency(0)
    assert_nothing_lost(topics, ledger, sim, events)


def test_broker_is_killed_in_the_middle(broker, topics, ledger, workers, sim, capsys):
    """kill -9 of the broker in the middle of a stream, then its return: said once, nothing lost, nothing twice."""
    if not broker.is_real:
        pytest.skip("the mock cluster is not killed")
    events, worker = slow_stream(topics, sim, workers, 4000)
    wait_until(accepted(ledger, 300), 30, "a stream")
    broker.kill()
    try:
        worker.wait_log("Kafka is away")
        worker.wait_not_ready(reason="kafka: ")
    finally:
        broker.start()
    recovered("kill -9 of the broker", time.monotonic(), worker.is_ready, capsys, 10)
    assert_nothing_lost(topics, ledger, sim, events)
    assert len(lines(worker, "Kafka is away")) == 1


def test_name_that_does_not_resolve(topics, ledger, workers, sim):
    """A host that cannot be resolved holds the route without holding up the worker: it answers probes all the while
    and nothing is dead."""
    topics.source.produce([event(number) for number in range(40)])
    url = f"https://no-such-host.invalid:{free_port()}/api/v2"
    worker = workers(start=False, contacts_api={"base_url": url}).start(ready=False)
    worker.wait_not_ready(reason="contacts_api: transport")
    slowest = 0.0
    for _ in range(50):
        began = time.monotonic()
        assert worker.get("/livez")[0] == 200
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 2, f"the loop was held up for {slowest:.2f} s"  # the resolver's own patience is 5 s
    assert not ledger.states().get("dead")
    worker.stop()
    worker.reconfigure(contacts_api={"base_url": sim.base_url()})
    worker.start()
    ledger.wait_states(accepted=40)
    assert sim.contact(phone(0), LIST)["enrolments"] == 1
