"""Everything at once, with one seed; and the same for hours."""
import collections
import random
import signal
import time

import pytest

from results import figure, row
from scene import SESSION_S
from signup_harness import ChaosProxy, wait_until
from telling import summarize
from weather import weather_over

PEACE = (0, -signal.SIGTERM, 128 + signal.SIGTERM)  # the last: told twice
RATE = 100
RECOVERY_S = 30
KEYS = ["trk_" + letter * 32 for letter in "ABCDEFGH"]


class Turmoil:
    """One misfortune after the other, some of them at the same time; step() often, end() once."""

    def __init__(self, scene, workers, proxy, key_file):
        self.scene, self.dice, self.workers, self.proxy, self.key_file = scene, scene.dice, workers, proxy, key_file
        self.seen, self.later = collections.Counter(), []  # later: [(when, what)]
        self.next_at = time.monotonic() + 1

    def step(self):
        now = time.monotonic()
        for when, what in sorted(self.later, key=lambda one: one[0]):
            if when <= now:
                self.later.remove((when, what))
                what()
        for worker in self.workers:
            if not worker.is_running():
                assert worker.process.returncode in (*PEACE,
                                                     -signal.SIGKILL), f"{worker.name}: exit {worker.process.returncode}"
                worker.start(ready=False)
        if now >= self.next_at:
            self.next_at = now + self.dice.uniform(0.1, 2)
            self._strike()

    def end(self):
        for _, what in self.later:
            what()
        self.later.clear()

    def _after(self, low, high, what):
        self.later.append((time.monotonic() + self.dice.uniform(low, high), what))

    def _strike(self):
        way = self.dice.choices(["kill", "leave", "kill two", "zombie", "postgres", "api away", "key"],
                                [8, 4, 2, 1, 1, 2, 2])[0]
        victim = self.dice.choice(self.workers)
        self.seen[way] += 1
        if way == "kill":
            victim.process.kill()
        elif way == "kill two":
            for worker in self.dice.sample(self.workers, 2):
                worker.process.kill()
        elif way == "leave":
            victim.process.send_signal(signal.SIGTERM)
        elif way == "zombie":
            pid = victim.process
            victim.pause()
            self._after(1, 4, lambda: pid.poll() is None and pid.send_signal(signal.SIGCONT))
        elif way == "postgres":
            self.scene.postgres.restart(self.dice.choice(["fast", "immediate"]))
        elif way == "api away":
            self.proxy("refuse", "rst")
            self._after(0.5, 3, lambda: self.proxy("listen"))
        else:
            self._rotate()

    def _rotate(self):
        """The API takes another key from now on; the file follows a little later."""
        key = self.dice.choice([one for one in KEYS if one != self.scene.sim.key])
        self.scene.sim.key = key
        self.scene.sim.keys(key)
        self._after(0.2, 1.5, self._write_key)

    def _write_key(self):
        new = self.key_file.with_suffix(".new")
        new.write_text(self.scene.sim.key + "\n")
        new.chmod(0o600)
        new.replace(self.key_file)


def wait_full_rate(scene, rate, timeout):
    """Until nine tenths of what comes are finished in a second; how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < timeout + 30:
        before, at = scene.finished(), time.monotonic()
        wait_until(lambda at=at: time.monotonic() >= at + 1, 5, "a second")
        if scene.finished() - before >= 0.9 * rate * (time.monotonic() - at):
            return at - began
    raise AssertionError(f"not back to {rate} a second: {scene.ledger.states()}")


@pytest.mark.partitions(16)
def test_everything(scene, log_check, length, tmp_path, capsys):
    """Kills, joins and leaves, zombies, PostgreSQL restarted, the API away, refusing the key, the bill or the pace, all with
    one seed: nothing lost, nothing twice, order and offsets right, memory bounded; well again within 30 s."""
    minutes = length.minutes or (5 if length.long else 0.25)
    for key in KEYS:
        log_check.add_secret(key)
    key_file = tmp_path / "rotating-key"
    key_file.write_text(scene.sim.key + "\n")
    key_file.chmod(0o600)
    began = time.monotonic()
    with ChaosProxy(scene.sim.port) as proxy, \
            row(73, "everything at once: 10, 11, 18, 26, 36, 47, 48, 49", f"one scheduler, one seed, {minutes:g} min",
                scene.broker) as found:
        api = {"base_url": scene.sim.base_url(port=proxy.port), "validation_url": scene.sim.validation_url(port=proxy.port),
               "key_file": str(key_file), "max_in_flight": 24, "timeout": "1500ms"}
        workers = [scene.worker(start=False, contacts_api=api) for _ in range(4)]
        for worker in workers:
            worker.start(ready=False)
        stream = scene.flow(RATE)
        scene.wait_flowing()
        turmoil = Turmoil(scene, workers, proxy, key_file)
        with weather_over(scene.sim, random.Random(scene.seed),
                          moods=("calm", "calm", "slow", "outage", "throttled", "billing")) as weather:
            while time.monotonic() - began < 60 * minutes:
                turmoil.step()
                weather.step()
                scene.progress.show(f"{sum(turmoil.seen.values())} misfortunes, {stream.count} events, API {weather.mood}")
                stream.ended.wait(0.01)
            turmoil.end()
            for worker in workers:
                if not worker.is_running():
                    worker.start(ready=False)
        found.recovery(wait_full_rate(scene, RATE, RECOVERY_S), within=RECOVERY_S)
        verdict = scene.finish(180)
        found.note(f"{dict(turmoil.seen)}; moods {weather.seen}; {verdict.events} events, {verdict.extra_calls} calls too many, "
                   f"seed {scene.seed}")
        scene.note_memory(found)
    kills = turmoil.seen["kill"] + 2 * turmoil.seen["kill two"]
    with capsys.disabled():
        print(f"\n    {sum(turmoil.seen.values())} misfortunes {dict(turmoil.seen)}, moods {weather.seen}; {verdict.events} events, "
              f"{verdict.extra_calls} calls too many, back to full rate after {found.recovery_s:.1f} s, slowest event "
              f"{verdict.slowest_s:.1f} s, {scene.watcher.rss_bytes >> 20} MiB", end="")
    summarize("everything at once", scene.seed, kills, turmoil.seen["leave"] * 2, verdict, found.recovery_s,
              f"{minutes:g} min")
    if length.long:
        figure("soak", "-", "24 h (or 8 h) of row 73, 1 seed an hour",
               f"{minutes:g} min, seed {scene.seed} (longer with --only everything "
               f"--minutes N; session timeout {SESSION_S:g} s)")
