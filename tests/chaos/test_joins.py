"""Workers come and go faster than a group likes it: nothing lost, no partition stuck, no offset goes back."""
import os
import signal
import time

import pytest

from results import figure, row
from scene import SESSION_S, owned, wait_shared
from signup_harness import wait_until
from telling import summarize

PARTITIONS = 16
PEACE = (0, -signal.SIGTERM)


class Company:
    """Up to four workers of which each may come, leave in peace, or be killed; never none."""

    def __init__(self, dice, workers):
        self.dice, self.workers, self.ways = dice, workers, {"start": 0, "SIGTERM": 0, "kill": 0}
        self.leaving, self.killed_at = set(), 0.0

    @property
    def changes(self):
        return sum(self.ways.values())

    def present(self):
        return [worker for worker in self.workers if worker.is_running() and worker not in self.leaving]

    def collect(self):
        for worker in list(self.leaving):
            if not worker.is_running():
                assert worker.process.returncode in PEACE, f"{worker.name}: exit {worker.process.returncode}"
                self.leaving.discard(worker)

    def change(self):
        self.collect()
        present = self.present()
        absent = [worker for worker in self.workers if not worker.is_running()]
        ways = ["start"] * 2 * bool(absent) + (["SIGTERM", "SIGTERM", "kill"] if len(present) > 1 else [])
        if not ways:
            return
        way = self.dice.choice(ways)
        self.ways[way] += 1
        if way == "start":
            self.dice.choice(absent).start(ready=False)
        elif way == "kill":
            self.killed_at = time.monotonic()
            self.dice.choice(present).kill()
        else:
            worker = self.dice.choice(present)
            worker.process.send_signal(signal.SIGTERM)
            self.leaving.add(worker)

    def gather(self):
        """All of them are there again."""
        wait_until(lambda: self.collect() or not self.leaving, 30, "those who leave are gone")
        for worker in self.workers:
            if not worker.is_running():
                worker.start(ready=False)


@pytest.mark.partitions(64 if os.environ.get("SIGNUP_CHAOS_LENGTH") == "long" else PARTITIONS)
def test_joins(scene, length, capsys):
    """Up to four workers join and leave (start, SIGTERM, kill) every 0.2 to 5 s: at least 300 times in the long run. All
    partitions get on within the session's timeout plus 5 s, nothing is lost or done twice, offsets never go back."""
    goal = 520 if length.long else 10
    until = time.monotonic() + 60 * length.minutes if length.minutes else None
    company = Company(scene.dice, [scene.worker(start=number == 0, limits={"lease": "2s"}) for number in range(4)])
    stream = scene.flow(400 if length.long else 120, returning=2000)
    scene.wait_flowing()
    began, next_change = time.monotonic(), 0.0
    while company.changes < goal if until is None else time.monotonic() < until:
        now = time.monotonic()
        if now >= next_change:
            company.change()
            next_change = now + scene.dice.triangular(0.2, 5, 0.2)
        scene.progress.show(f"{company.changes} of {goal}, {len(company.present())} there, {stream.count} events, longest stall "
                            f"{scene.watcher.stall_s:.1f} s")
        stream.ended.wait(0.02)
    took = time.monotonic() - began
    company.gather()
    shared_s = wait_shared(company.workers, scene.topics.source.partitions)
    scene.wait_flowing()
    with row(18, "2->4->1->3 workers, joins and leaves",
             f"start, SIGTERM, kill -9 every 0.2-5 s, {scene.topics.source.partitions} "
             "partitions", scene.broker) as found:
        verdict = scene.finish()
        stall = scene.watcher.stall_s
        with capsys.disabled():
            print(f"\n    {company.changes} joins and leaves {company.ways} in {took:.0f} s; {verdict.events} events, "
                  f"{verdict.extra_calls} calls too many; longest stall of a partition {stall:.2f} s; all shared "
                  f"{shared_s:.2f} s after the last", end="")
        summarize("joins and leaves", scene.seed, company.ways["kill"], company.changes, verdict, stall,
                  f"{scene.topics.source.partitions} partitions")
        found.note(f"{company.changes} changes, {verdict.events} events, seed {scene.seed}")
        scene.note_memory(found)
        found.recovery(stall, within=SESSION_S + 5)
    if length.long:
        figure("rebalance chaos", "12 instances x <= 5 min (disabled test)",
               "4 workers, >= 500 joins/leaves, 64 partitions, "
               ">= 300,000 events; progress within session + 5 s",
               f"4 workers, {company.changes} joins and leaves, {scene.topics.source.partitions} partitions, {verdict.events} events, "
               f"0 lost, 0 twice; longest stall {stall:.1f} s (session {SESSION_S:g} s)")


@pytest.mark.partitions(4)
def test_same_partition_back(scene, capsys):
    """Partitions are taken from a worker with calls under way and given back to it again and again; the calls take longer
    than it may keep them: what completes late completes nothing, offsets never go back."""
    scene.sim.latency(800, 1200)
    slow = {"limits": {"lease": "3s", "shutdown": "5s"}, "contacts_api": {"base_url": scene.sim.base_url(), "timeout": "2s",
            "validation_url": scene.sim.validation_url(), "max_in_flight": 24}}
    settings = {"commit_interval": "200ms", "revoke_drain": "100ms", "properties": {
        "session.timeout.ms": int(SESSION_S * 1000), "heartbeat.interval.ms": 300}}
    stays = scene.worker(kafka=settings, **slow)
    guest = scene.worker(start=False, kafka=settings, **slow)
    scene.flow(25, returning=100, shares={"again": 60, "single": 40})
    scene.wait_flowing()
    rounds, worst = (12 if scene.long else 2), 0.0
    with row(19, "revoked and got back with calls under way", f"a guest comes and goes {rounds} times, calls of 0.8-1.2 s, "
             "revoke_drain 100 ms", scene.broker) as found, \
            row(20, "late completions, the partition got back meanwhile",
                "the same: calls complete after their partition went", scene.broker) as late:
        for _ in range(rounds):
            guest.start(ready=False)
            wait_shared([stays, guest], 4)
            assert guest.stop() in PEACE
            worst = max(worst, time_until(lambda: len(owned(stays)) == 4))
        abandoned = stays.metric("signup_abandoned_total")
        scene.sim.latency(3, 10)
        verdict = scene.finish()
        late.note(f"{abandoned:.0f} deliveries given up at a revoke, {scene.watcher.commits} commits, none went back")
        found.note(f"{verdict.events} events, {verdict.extra_calls} calls too many")
        found.recovery(worst)
        assert abandoned > 0, "nothing was under way at any revoke"
    summarize("same partition back", scene.seed, 0, 2 * rounds, verdict, worst)


def time_until(condition, timeout=40):
    began = time.monotonic()
    wait_until(condition, timeout, "the condition")
    return time.monotonic() - began
