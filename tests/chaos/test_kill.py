"""kill -9 inside a backlog, where everything is under way at once, with PostgreSQL restarted meanwhile; and a kill while
thousands of events are buried."""
import random
import signal
import time

import pytest

from oracle import judge, wait_drained
from results import row
from scene import SHORT_TIMES
from signup_harness import wait_until
from signups import LIST, event, phone
from stream import Mix, Stream
from telling import summarize


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

    def strike(self):
        """One or two kills."""
        victim = self.dice.choice(self.workers)
        way = self.dice.choice(["alone", "alone", "both", "while stopping", "while starting"])
        if way == "both":
            for worker in self.workers:
                worker.process.kill()
            for worker in self.workers:
                self.kill(worker, way)
        elif way == "while stopping":
            victim.process.send_signal(signal.SIGTERM)
            self.wait(0.2)
            self.kill(victim, way)
        elif way == "while starting":
            self.kill(victim, way)
            self.wait(1.5)
            self.kill(victim, way)
        else:
            self.kill(victim, way)

    def wait(self, up_to_s):
        """Until a random instant."""
        end = time.monotonic() + self.dice.uniform(0, up_to_s)
        wait_until(lambda: time.monotonic() >= end, up_to_s + 1, "an instant", interval=0.001)


@pytest.mark.long
@pytest.mark.partitions(8)
def test_kills_in_a_backlog(topics, ledger, postgres, workers, book_sim, broker, seed, length, capsys):
    """A backlog, two workers, kill -9 at random points of the work (alone, both at once, while stopping, while starting),
    PostgreSQL restarted fast and immediately in between."""
    count, kills, at_a_time = (20000, 20, 12) if length.long else (5000, 6, 4)
    dice = random.Random(seed)
    book_sim.latency(10, 30)
    book_sim.fault({"kind": "reset", "at": "after_request", "apply": True}, op="upsert", probability=0.005)
    stream = Stream(topics.source, Mix(dice, returning=count // 20), 100000, limit=count).start()
    wait_until(lambda: stream.count == count, 60, "the backlog")
    stream.stop()
    api = {"base_url": book_sim.base_url(), "validation_url": book_sim.validation_url(), "max_in_flight": at_a_time,
           "timeout": "2s"}
    killer = Killer(dice, [workers(name=f"worker{number}", contacts_api=api, **{**SHORT_TIMES, "limits": {"lease": "4s"}})
                           for number in (1, 2)])
    began = time.monotonic()
    goals = sorted(dice.randrange(100, count * 3 // 4) for _ in range(kills))
    restarts = {goals[kills // 3]: "fast", goals[2 * kills // 3]: "immediate"}
    with row(10, "random kill -9 in a backlog",
             f"{kills} times and more, two workers, PostgreSQL restarted fast and immediately",
             broker) as found:
        for goal in goals:
            wait_until(lambda goal=goal: finished(ledger) >= goal, 90, lambda: f"{goal} finished, but {ledger.states()}")
            if goal in restarts:
                postgres.restart(restarts.pop(goal))
            killer.wait(0.3)
            killer.strike()
        assert finished(ledger) < count, "the work was over before the kills were"
        wait_drained(ledger, topics, 120, stream.count, hurry=not length.long)
        took = time.monotonic() - began
        verdict = judge(stream.produced, book_sim, ledger, topics)
        verdict.check()
        found.note(f"{killer.kills} kills {killer.ways}, {verdict.events} events, {verdict.extra_calls} calls too many, seed {seed}")
    summarize("kills in a backlog", seed, killer.kills, None, verdict, None, "2 restarts of PostgreSQL")
    with capsys.disabled():
        print(f"\n    {took:.0f} s, kills {killer.ways}, {verdict.extra_calls} calls too many, {verdict.of_unknown_fate} of unknown "
              f"fate resolved, {verdict.second_letters} second copies of {verdict.dead} letters", end="")


@pytest.mark.long
@pytest.mark.partitions(4)
def test_kill_between_the_dead_row_and_its_letter(topics, ledger, workers, sim, broker, seed, capsys):
    """A topic full of bad events and a worker that is killed while it buries them: every dead row gets its letter, at
    most few of them twice, each with the same event id."""
    dice = random.Random(seed)
    with row(6, "kill -9 while thousands are buried", "3,000 bad events, two kills at random instants", broker) as found:
        worker = workers()
        events = [event(number, event_id=f"bad-{number}", phone_number="12") for number in range(3000)]
        topics.source.produce(events + [event(9999)])
        killer = Killer(dice, [worker])
        for goal in (1, 1000):
            wait_until(lambda goal=goal: ledger.states().get("dead", 0) >= goal, 60, f"{goal} dead")
            killer.wait(0.05)
            killer.kill(worker, "alone")
        ledger.wait_states(accepted=1, dead=3000, timeout=60)
        wait_drained(ledger, topics, 60, 3001, hurry=True)
        ids = [dict(record.headers)["signup.event_id"].decode() for record in topics.dead_letter.consume()]
        assert set(ids) == {one["event_id"] for one in events}
        copies = len(ids) - len(events)
        assert copies <= 400, "not more than was under way"
        assert sim.contact(phone(9999), LIST)["enrolments"] == 1
        found.note(f"{copies} second copies of 3,000 letters")
    with capsys.disabled():
        print(f"\n    {copies} second copies of 3000 letters", end="")
