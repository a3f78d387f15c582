"""One scenario's set-up: topics, ledger, simulator, workers, dice, a flow of events and a watcher; and its end: drain, judge."""
import json
import random
import time

import pytest

from oracle import judge, wait_drained
from signup_harness import wait_until
from signup_harness.process import clean_environment, find_binary, spawn
from signup_harness.worker import Worker
from stream import Mix, Stream
from telling import Progress
from watch import Watcher

RSS_CAP_BYTES = 128 << 20
SESSION_S = 1.5
NEVER_PARK = {"retry": {"inline_attempts": 1000, "inline_base": "50ms", "inline_cap": "500ms", "max_age": "1h",
                        "max_attempts": 100000}}
SHORT_TIMES = {"retry": {"inline_attempts": 2, "inline_base": "50ms", "inline_cap": "1s", "park_base": "500ms",
                         "park_cap": "2s",
                         "billing_step": "1500ms", "max_age": "1h", "max_attempts": 100000},
               "limits": {"lease": "3s", "shutdown": "5s"}}


class Prefixed(Worker):
    """A worker that another program starts: prlimit, nice. Its log may lie elsewhere."""
    prefix = ()

    def start(self, ready=True, timeout=60):
        assert not self.is_running(), f"{self.name} runs already"
        self.process = spawn([*self.prefix, find_binary("signup-worker"), "run", "--config", self.config_path], self.log,
                             clean_environment(self.environment))
        if ready:
            self.wait_ready(timeout)
        return self


class Scene:
    def __init__(self, topics, ledger, make_worker, sim, seed, broker, postgres, title, length):
        self.topics, self.ledger, self.make_worker, self.sim = topics, ledger, make_worker, sim
        self.seed, self.broker, self.postgres, self.long = seed, broker, postgres, length.long
        self.dice = random.Random(seed)
        self.made, self.stream, self.watcher, self.verdict = [], None, None, None
        self.progress = Progress(title)

    def worker(self, start=True, **changes):
        """A worker with short times; `changes` are laid over its configuration."""
        options = {**SHORT_TIMES, "contacts_api": {
            "base_url": self.sim.base_url(), "validation_url": self.sim.validation_url(), "max_in_flight": 24,
            "timeout": "1500ms"}, "kafka": {"commit_interval": "200ms", "properties": {
                "session.timeout.ms": int(SESSION_S * 1000), "heartbeat.interval.ms": 300}}}
        environment, name = changes.pop("environment", None), changes.pop("name", None)
        for section, values in changes.items():
            options[section] = {**options.get(section, {}), **values}
        one = self.make_worker(start=False, environment=environment, name=name, **options)
        self.made.append(one)
        return one.start() if start else one

    def flow(self, rate, returning=300, shares=None, duplicates=0.01, limit=None):
        """A steady flow of events, and eyes on the offsets."""
        self.stream = Stream(self.topics.source, Mix(self.dice, returning, shares), rate, duplicates, limit).start()
        self.watch()
        return self.stream

    def watch(self):
        self.watcher = Watcher(self.topics, self.ledger, self.made)

    def finished(self):
        states = self.ledger.states()
        return states.get("accepted", 0) + states.get("dead", 0)

    def wait_finished(self, count, timeout=60):
        wait_until(lambda: self.finished() >= count, timeout, lambda: f"{count} finished, but {self.ledger.states()}")

    def wait_flowing(self, timeout=30):
        """Until events are finished that come after now; how long that took."""
        began, before = time.monotonic(), self.finished()
        wait_until(lambda: self.finished() >= before + 20, timeout, "a flow")
        return time.monotonic() - began

    def let(self, seconds, step=lambda: None, what=""):
        """Lets it go on for a while; `step` is called again and again."""
        end = time.monotonic() + seconds
        def over():
            step()
            self.progress.show(f"{what} {self.stream.count if self.stream else ''} events")
            return time.monotonic() >= end
        wait_until(over, seconds + 60, "an instant", interval=0.01)

    def finish(self, timeout=120):
        """Ends the flow, drains, judges; everything that must hold is held against what was seen."""
        if self.stream:
            self.stream.stop()
            wait_drained(self.ledger, self.topics, timeout, self.stream.count, hurry=not self.long)
        if self.watcher:
            self.watcher.close().check()
        if self.stream:
            self.verdict = judge(self.stream.produced, self.sim, self.ledger, self.topics)
            self.verdict.check()
        self.progress.close()
        return self.verdict

    def note_memory(self, found):
        assert self.watcher.rss_bytes <= RSS_CAP_BYTES, f"{self.watcher.rss_bytes >> 20} MiB"
        found.note(f"at most {self.watcher.rss_bytes >> 20} MiB")


def owned(worker):
    """Partitions that the worker says it has."""
    status, text = worker.get("/status")
    if status != 200:
        return set()
    return {entry["partition"] for entry in json.loads(text)["partitions"]}


def wait_shared(workers, partitions, timeout=40):
    """Until these have all partitions among them, each at least one; how long it took."""
    def shared():
        parts = [owned(worker) for worker in workers]
        return all(parts) and sum(map(len, parts)) == len(set().union(*parts)) == partitions
    began = time.monotonic()
    wait_until(shared, timeout, lambda: f"shared partitions: {[owned(worker) for worker in workers]}", interval=0.05)
    return time.monotonic() - began


@pytest.fixture
def scene(topics, ledger, workers, book_sim, seed, broker, postgres, length, request):
    made = Scene(topics, ledger, workers, book_sim, seed, broker, postgres, request.node.name.removeprefix("test_"), length)
    book_sim.latency(3, 15)
    yield made
    made.progress.close()
    if made.stream and not made.stream.ended.is_set():
        made.stream.ended.set()
    if made.watcher:
        made.watcher.close()
