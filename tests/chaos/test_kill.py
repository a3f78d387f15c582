"""kill -9 again and again: nothing is lost, nobody is enrolled twice, the order of each contact is kept.

The oracle is what was published, the simulator's own book, the ledger and the dead-letter topic, joined after the
drain. SIGNUP_CHAOS_SEED repeats a run's choices."""
import json
import os
import random
import signal
import time

import pytest

from signup_harness import ContactsSim, wait_until
from signups import (LIST, assert_enrolled_once, assert_never_two_at_once, assert_one_final_row_each, calls, event, phone,
                     wait_settled)

EVENTS = 20000
KILLS = 20
RETURNING = 1000  # contacts with ten events each
LIMIT_S = 180


@pytest.fixture
def seed(capsys):
    chosen = int(os.environ.get("SIGNUP_CHAOS_SEED") or random.SystemRandom().randrange(1, 1 << 31))
    with capsys.disabled():
        print(f"\n    SIGNUP_CHAOS_SEED={chosen}", end="")
    return chosen


@pytest.fixture
def book_sim(tmp_path, log_check):
    """A simulator whose book holds the bodies."""
    sim = ContactsSim(tmp_path / "contacts", options=["--book-bodies"])
    log_check.add_secret(sim.key)
    yield sim
    sim.close()


def make_events(dice):
    """Half of them contacts that sign up once and ask to be enrolled whatever was before, so that a resend that is not
    guarded shows; a third contacts that return ten times, numbered; the rest bad by our rules or by the API's."""
    events = []
    for seq in range(10):
        events += [event(number, event_id=f"again-{number}-{seq}", custom_fields={"seq": seq}) for number in range(RETURNING)]
    for number in range(RETURNING, RETURNING + EVENTS - len(events)):
        kind = dice.random()
        if kind < 0.02:
            events.append(event(number, event_id=f"bad-{number}", phone_number="12"))
        elif kind < 0.04:
            events.append(event(number, event_id=f"refused-{number}", list_number="+14045550000"))
        else:
            events.append(event(number, event_id=f"once-{number}", skip_journey_if_exists=False))
    singles = events[10 * RETURNING:]
    dice.shuffle(singles)
    mixed = []
    for first, second in zip(events[:10 * RETURNING], singles):  # the numbered ones keep their order
        mixed += [first, second]
    assert len(mixed) == EVENTS
    return mixed


def finished(ledger):
    states = ledger.states()
    return states.get("accepted", 0) + states.get("dead", 0)


class Killer:
    """Kills workers in several ways and starts them again at once, as a supervisor would."""

    def __init__(self, dice, workers):
        self.dice, self.workers, self.kills, self.ways = dice, workers, 0, {}

    def kill(self, worker, way):
        worker.kill()
        self.kills += 1
        self.ways[way] = self.ways.get(way, 0) + 1
        worker.start(ready=False)

    def strike(self, left):
        """One to three kills, at most `left`."""
        victim = self.dice.choice(self.workers)
        way = self.dice.choice(["alone", "alone", "both", "while stopping", "while starting"])
        if way == "both" and left >= 2:
            for worker in self.workers:
                worker.process.kill()
            for worker in self.workers:
                self.kill(worker, way)
        elif way == "while stopping":
            victim.process.send_signal(signal.SIGTERM)
            self.wait(0.2)
            self.kill(victim, way)
        elif way == "while starting" and left >= 2:
            self.kill(victim, way)
            self.wait(1.5)
            self.kill(victim, way)
        else:
            self.kill(victim, "alone")

    def wait(self, up_to_s):
        """Until a random instant."""
        end = time.monotonic() + self.dice.uniform(0, up_to_s)
        wait_until(lambda: time.monotonic() >= end, up_to_s + 1, "an instant", interval=0.001)


def assert_order(sim):
    """By the book the numbered events of every returning contact arrived in order; repeats only of the latest."""
    seen = {}
    for line in calls(sim):
        body = json.loads(line["body"])
        if "custom_fields" in body:
            seen.setdefault(body["phone_number"], []).append(body["custom_fields"]["seq"])
    assert len(seen) == RETURNING
    for number, seqs in seen.items():
        assert seqs == sorted(seqs) and sorted(set(seqs)) == list(range(10)), (number, seqs)


def assert_letters(topic, ledger):
    """Every dead row has its letter, nobody else has one, and every row is marked; a second copy is allowed."""
    dead = {row["event_id"] for row in ledger.rows("state = 'dead'")}
    wait_until(lambda: not ledger.rows("state = 'dead' AND dead_letter_published_at IS NULL"), 90, "all letters published",
               interval=0.5)
    ids = [dict(record.headers)["signup.event_id"].decode() for record in topic.consume()]
    assert set(ids) == dead, f"{len(dead - set(ids))} letters are missing, {len(set(ids) - dead)} are nobody's"
    return len(ids) - len(dead)


@pytest.mark.partitions(8)
def test_twenty_kills_and_two_restarts_of_postgres(topics, ledger, postgres, workers, book_sim, seed, capsys):
    """20,000 events, two workers, 20 times kill -9 at random points of the work (alone, both at once, while stopping,
    while starting), PostgreSQL restarted fast and immediately: every event has one final row, nobody was enrolled
    twice, no contact ever had two calls under way, order per contact kept, offsets at the end, letters complete."""
    dice = random.Random(seed)
    events = make_events(dice)
    book_sim.latency(3, 15)
    book_sim.fault({"kind": "answer", "status": 400, "code": "list_not_found", "apply": False}, op="upsert",
                   list="+14045550000")
    book_sim.fault({"kind": "reset", "at": "after_request", "apply": True}, op="upsert", probability=0.005)
    began = time.monotonic()
    options = {"contacts_api": {"base_url": book_sim.base_url(), "validation_url": book_sim.validation_url(),
                                "max_in_flight": 24, "timeout": "2s"}, "limits": {"lease": "7s"}}
    killer = Killer(dice, [workers(name=f"worker{number}", **options) for number in (1, 2)])
    topics.source.produce(events)

    goals = sorted(dice.randrange(200, EVENTS - 1500) for _ in range(KILLS))
    restarts = {goals[KILLS // 3]: "fast", goals[2 * KILLS // 3]: "immediate"}
    for goal in goals:
        if killer.kills >= KILLS:
            break
        wait_until(lambda goal=goal: finished(ledger) >= goal, 90, lambda: f"{goal} finished, but {ledger.states()}")
        if goal in restarts:
            postgres.restart(restarts.pop(goal))
        killer.wait(0.3)
        killer.strike(KILLS - killer.kills)
    while killer.kills < KILLS:
        killer.wait(0.5)
        killer.strike(KILLS - killer.kills)
    for mode in restarts.values():
        postgres.restart(mode)

    assert finished(ledger) < EVENTS, "the work was over before the kills were"
    bad = [one["event_id"] for one in events if one["event_id"].startswith(("bad-", "refused-"))]
    ledger.wait_states(accepted=EVENTS - len(bad), dead=len(bad), timeout=90)
    wait_settled(topics.source, topics.group)
    took = time.monotonic() - began

    assert_one_final_row_each(ledger, [one["event_id"] for one in events])
    dead = {row["event_id"]: row["code"] for row in ledger.rows("state = 'dead'")}
    assert dead == {name: "invalid_phone" if name.startswith("bad-") else "list_not_found" for name in bad}
    assert_enrolled_once(book_sim)
    assert len({line["phone"] for line in book_sim.effects() if line["enrolled"]}) == EVENTS - len(bad) - 9 * RETURNING
    assert_never_two_at_once(book_sim)
    assert_order(book_sim)
    copies = assert_letters(topics.dead_letter, ledger)
    needed = sum(1 for one in events if not one["event_id"].startswith("bad-"))
    with capsys.disabled():
        print(f"\n    {took:.0f} s, kills {killer.ways}, {len(calls(book_sim)) - needed} calls repeated, "
              f"{len(ledger.rows('maybe_sent'))} of unknown fate resolved, {copies} second copies of {len(bad)} letters", end="")
    assert took < LIMIT_S


@pytest.mark.partitions(4)
def test_kill_between_the_dead_row_and_its_letter(topics, ledger, workers, sim, seed, capsys):
    """A topic full of bad events and a worker that is killed while it buries them: every dead row gets its letter, at
    most few of them twice, each with the same event id."""
    dice = random.Random(seed)
    worker = workers()
    events = [event(number, event_id=f"bad-{number}", phone_number="12") for number in range(3000)]
    topics.source.produce(events + [event(9999)])
    killer = Killer(dice, [worker])
    for goal in (1, 1000):
        wait_until(lambda goal=goal: ledger.states().get("dead", 0) >= goal, 60, f"{goal} dead")
        killer.wait(0.05)
        killer.kill(worker, "alone")
    ledger.wait_states(accepted=1, dead=3000, timeout=60)
    ledger.query("UPDATE {schema}.event SET lease_until = now() WHERE state = 'dead' AND dead_letter_published_at IS NULL")
    copies = assert_letters(topics.dead_letter, ledger)
    with capsys.disabled():
        print(f"\n    {copies} second copies of 3000 letters", end="")
    assert copies <= 400, "not more than was under way"
    assert sim.contact(phone(9999), LIST)["enrolments"] == 1
