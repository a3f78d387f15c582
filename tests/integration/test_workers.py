"""Several workers of one group: they share the partitions, come and go, and lose nothing between them."""
import signal
import time

import pytest

from signup_harness import wait_until
from signups import (assert_enrolled_once, assert_never_two_at_once, assert_one_final_row_each, calls, event, phone,
                     wait_settled)


def owned(worker):
    return {entry["partition"] for entry in worker.status()["partitions"]} if worker.is_running() else set()


def shared_by(*workers, partitions=4):
    """True when each of these has partitions, nobody shares one, and none is left over."""
    parts = [owned(worker) for worker in workers]
    return all(parts) and sum(map(len, parts)) == len(set().union(*parts)) == partitions


def assert_order(sim, events):
    """The simulator saw the events of each contact in the order of the topic; repeats of the latest are allowed."""
    expected = {}
    for one in events:
        expected.setdefault((one["phone_number"], one["list_number"]), []).append(one["custom_fields"]["seq"])
    for (number, list_number), seqs in list(expected.items())[:300]:
        seen = sim.contact(number, list_number)["seqs"]
        assert seen == sorted(seen) and list(dict.fromkeys(seen)) == seqs, (seen, seqs)


def test_two_workers_share_the_partitions(topics, ledger, workers, sim):
    """A second worker takes over half of the partitions while a backlog is worked on; both do their share; every
    event has one row, was called once, and the order per contact is kept."""
    sim.latency(5, 15)
    first = workers(contacts_api={"max_in_flight": 16})
    events = topics.source.generate(8000, contacts=800)
    wait_until(lambda: ledger.states().get("accepted", 0) > 200, 30, "a stream")
    second = workers(contacts_api={"max_in_flight": 16})
    wait_until(lambda: shared_by(first, second), 30, lambda: f"{owned(first)} and {owned(second)}")
    ledger.wait_states(accepted=8000, timeout=90)
    wait_settled(topics.source, topics.group)
    assert first.metric("signup_accepted_total") > 100 and second.metric("signup_accepted_total") > 100
    assert len(calls(sim)) == 8000, "a handover in peace repeats no call"
    assert_one_final_row_each(ledger, [one["event_id"] for one in events])
    assert_never_two_at_once(sim)
    assert_enrolled_once(sim)
    assert_order(sim, events)


@pytest.mark.partitions(8)
def test_workers_come_and_go_under_load(topics, ledger, workers, sim):
    """Workers join and leave in peace again and again under load: nothing lost, no call repeated, order kept, and no
    partition is left without an owner."""
    sim.latency(2, 10)
    pool = [workers(contacts_api={"max_in_flight": 12})]
    events = topics.source.generate(12000, contacts=1500)
    for number, change in enumerate(("join", "join", "leave", "join", "leave", "leave", "join")):
        goal = 600 * (number + 1)
        wait_until(lambda goal=goal: sum(ledger.states().values()) >= goal, 40, f"progress before change {number}")
        if change == "join":
            pool.append(workers(contacts_api={"max_in_flight": 12}))
        else:
            assert pool.pop(0).stop() == 0
        wait_until(lambda: shared_by(*pool, partitions=8), 40, lambda: f"owners: {[owned(worker) for worker in pool]}")
    sim.latency(0)
    ledger.wait_states(accepted=12000, timeout=90)
    wait_settled(topics.source, topics.group)
    assert_one_final_row_each(ledger, [one["event_id"] for one in events])
    assert len(calls(sim)) == 12000, "a handover in peace repeats no call"
    assert_never_two_at_once(sim)
    assert_enrolled_once(sim)
    assert_order(sim, events)


def test_restarts_inside_a_backlog(topics, ledger, workers, sim):
    """SIGTERM and start, five times inside one backlog: each start goes on where the last one ended; not one call is
    repeated."""
    sim.latency(5, 10)
    worker = workers(contacts_api={"max_in_flight": 32})
    events = topics.source.generate(8000, contacts=2000)
    for number in range(5):
        goal = 500 * (number + 1)
        wait_until(lambda goal=goal: ledger.states().get("accepted", 0) >= goal, 40, f"{goal} accepted")
        worker.restart()
    assert ledger.states()["accepted"] < 8000, "the backlog was over before the restarts"
    sim.latency(0)
    ledger.wait_states(accepted=8000, timeout=60)
    wait_settled(topics.source, topics.group)
    assert len(calls(sim)) == 8000
    assert_one_final_row_each(ledger, [one["event_id"] for one in events])
    assert_order(sim, events)


def test_killed_worker_is_replaced_in_time(broker, topics, ledger, workers, sim, capsys):
    """After kill -9 with calls under way another worker has every event within the session timeout plus 10 s; calls
    whose fate is unknown are repeated guarded; nobody is enrolled twice."""
    session_s = 6 if broker.is_real else 3.5
    sim.latency(50, 150)
    first = workers(contacts_api={"max_in_flight": 32, "timeout": "3s"}, limits={"lease": "8s"})
    second = workers(contacts_api={"max_in_flight": 32, "timeout": "3s"}, limits={"lease": "8s"})
    wait_until(lambda: shared_by(first, second), 30, "both have partitions")
    lost = {f"{partition}" for partition in owned(first)}
    events = [event(number, skip_journey_if_exists=False) for number in range(1500)]
    positions = topics.source.produce(events)
    wait_until(lambda: first.metric("signup_accepted_total") >= 100, 30, "a stream")
    first.kill()
    began = time.monotonic()
    before = {row["event_id"] for row in ledger.rows("state = 'accepted'")}
    sim.latency(5, 10)
    ledger.wait_states(accepted=1500, timeout=60)
    took = time.monotonic() - began
    with capsys.disabled():
        print(f"\n    all events of the killed worker accepted {took:.2f} s after kill -9 (session timeout {session_s:g} s)",
              end="")
    assert took <= session_s + 10
    orphans = [one for one, (partition, _) in zip(events, positions)
               if str(partition) in lost and one["event_id"] not in before]
    assert orphans, "the worker was killed too late"
    resent = ledger.rows("maybe_sent")
    for row in resent:
        assert row["request"]["skip_journey_if_exists"] is True
        assert ("worker", "journey_resend_guarded") in ledger.warnings(row["event_id"])
    twice = {line["phone"] for line in calls(sim)}
    assert len(twice) == 1500 and len(calls(sim)) <= 1500 + len(resent)
    assert_enrolled_once(sim)
    wait_settled(topics.source, topics.group)


def test_killed_worker_with_default_lease(topics, ledger, workers, sim):
    """The same with the configuration's defaults (session timeout 10 s) and a single worker that is started again at
    once: within the session timeout plus 10 s after the kill everything is accepted."""
    sim.latency(100, 200)
    worker = workers(kafka={"properties": {"session.timeout.ms": 10000, "heartbeat.interval.ms": 3000}})
    topics.source.produce([event(number) for number in range(1000)])
    wait_until(lambda: ledger.states().get("accepted", 0) >= 100, 30, "a stream")
    worker.kill()
    began = time.monotonic()
    worker.start(ready=False)
    sim.latency(0)
    ledger.wait_states(accepted=1000, timeout=60)
    assert time.monotonic() - began <= 10 + 10, f"{time.monotonic() - began:.1f} s"
    assert_enrolled_once(sim)


def test_zombie_writes_nothing(topics, ledger, workers, sim):
    """A worker that is suspended beyond its session and wakes up again: its claims are gone, its records and commits
    are refused or harmless; every event has one row, nobody is enrolled twice, offsets never go back."""
    sim.latency(20, 40)
    options = {"contacts_api": {"max_in_flight": 16, "timeout": "2s"}, "limits": {"lease": "4s"}}
    zombie = workers(**options)
    other = workers(**options)
    wait_until(lambda: shared_by(zombie, other), 30, "both have partitions")
    events = topics.source.generate(4000, contacts=1000)
    wait_until(lambda: zombie.metric("signup_accepted_total") >= 50, 30, "a stream")
    zombie.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: len(owned(other)) == 4, 40, "the other one has all partitions")
    ledger.wait_states(accepted=4000, timeout=60)
    wait_settled(topics.source, topics.group)
    committed = topics.source.offsets(topics.group)
    rows = ledger.query("SELECT event_id, finished_at, attempts FROM {schema}.event ORDER BY event_id")
    zombie.resume()
    wait_until(lambda: shared_by(zombie, other), 40, "the zombie is a member again")
    topics.source.produce([event(999999)])
    ledger.wait_states(accepted=4001)
    wait_settled(topics.source, topics.group)
    assert ledger.query("SELECT event_id, finished_at, attempts FROM {schema}.event WHERE event_id <> 'e-999999' "
                        "ORDER BY event_id") == rows
    for partition, entry in topics.source.offsets(topics.group).items():
        assert entry["committed"] >= committed[partition]["committed"]
    assert_enrolled_once(sim)
    assert_order(sim, events)


def test_hot_contact_does_not_starve_the_others(topics, ledger, workers, sim):
    """Half of the traffic is one contact: its events go one by one and in order, the others at full speed."""
    sim.latency(10, 10)
    hot = [event(0, event_id=f"hot-{seq}", custom_fields={"seq": seq}) for seq in range(200)]
    cold = [event(number) for number in range(1, 201)]
    topics.source.produce([one for pair in zip(hot, cold) for one in pair], partition=0)
    workers()
    wait_until(lambda: len(ledger.rows("state = 'accepted' AND event_id LIKE 'e-%%'")) == 200, 20, "the others")
    assert len(ledger.rows("state = 'accepted' AND event_id LIKE 'hot-%%'")) < 200, "the hot one must still be at it"
    ledger.wait_states(accepted=400)
    assert sim.contact(phone(0), hot[0]["list_number"])["seqs"][-32:] == list(range(168, 200))
    assert_never_two_at_once(sim)
