"""Workers under a supervisor that kills them: at named crash points, at random instants, and while they leave."""
import collections
import re
import signal
import subprocess
import time

from signup_harness import find_binary

# Passings until the kill, drawn up to this: frequent stages are met later, so that not always the first batch is hit.
PASSINGS = {"after_fetch": 150, "after_claim_sent": 12, "after_claim": 12, "before_call_sent": 40, "after_call_sent": 40,
            "after_call_answer": 40, "after_record_sent": 12, "after_record": 12, "in_drain": 4}
LIFE_S = 12.0  # how long the occasion of a stage is waited for
# Told to leave: in order, before the handler was set up, and once more while leaving.
IN_PEACE = (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def crash_points():
    """[(name, help)] that the program knows; it prints them when it is asked for one that it does not."""
    done = subprocess.run([find_binary("signup-worker"), "run"], env={"SIGNUP_CRASH_AT": "?"}, capture_output=True, text=True,
                          timeout=20, check=False)
    found = re.findall(r"^  (\S+) +(.+)$", done.stderr, re.MULTILINE)
    assert done.returncode == 78 and len(found) >= 14, \
        f"this build has no crash points (configure with -DSIGNUP_CRASH_POINTS=ON): exit {done.returncode}, {done.stderr[:200]}"
    return found


class Life:
    """One process's plan."""

    def __init__(self, stage, now, dice):
        self.stage, self.began, self.stop_at, self.told = stage, now, None, False
        self.at = None if stage is None else f"{stage}:{dice.randint(1, PASSINGS.get(stage, 3))}"
        if stage == "in_drain":
            self.stop_at = now + dice.uniform(0.5, 3)


class Fleet:
    """Workers that live until their stage, the supervisor's dice or their patience kills them; each is started again at
    once. `plan` are stages still to be met; call step() often until done(), then settle(). `shake_every`: how often one
    leaves in peace and comes back, so that the group has something to rebalance."""

    def __init__(self, dice, workers, plan=(), random_kills=0, random_every=(0.05, 1.5), life_s=LIFE_S, shake_every=None):
        self.dice, self.workers, self.plan, self.random_left = dice, list(workers), list(plan), random_kills
        dice.shuffle(self.plan)
        self.random_every, self.life_s = random_every, life_s
        self.kills, self.lives, self.exits = collections.Counter(), {}, []
        self.missed = collections.Counter()  # a stage's occasion did not come within the patience
        self.next_random = time.monotonic()
        self.shake_every, self.next_shake, self.shakes = shake_every, time.monotonic() + 3, 0

    @property
    def killed(self):
        return sum(self.kills.values())

    def done(self):
        return not self.plan and self.random_left <= 0 and not any(life.stage for life in self.lives.values())

    def start(self):
        for worker in self.workers:
            self._start(worker)
        return self

    def _start(self, worker):
        life = Life(self.plan.pop() if self.plan else None, time.monotonic(), self.dice)
        worker.environment = {"SIGNUP_CRASH_AT": life.at} if life.at else {}
        worker.start(ready=False)
        self.lives[worker] = life

    def step(self):
        """Collects the dead, starts their successors, and kills whoever is due."""
        now = time.monotonic()
        for worker in self.workers:
            status = worker.process.poll()
            if status is not None:
                self._bury(worker, status)
                self._start(worker)
                continue
            life = self.lives[worker]
            if life.stop_at is not None and now >= life.stop_at and not life.told:
                life.told = True
                worker.process.send_signal(signal.SIGTERM)
            if life.stage and now - life.began > self.life_s:
                self.missed[life.stage] += 1
                self._kill(worker, "impatience")
        if self.random_left > 0 and now >= self.next_random:
            self.next_random = now + self.dice.uniform(*self.random_every)
            self.random_left -= 1
            self._kill(self.dice.choice(self.workers), "random")
        if self.shake_every and now >= self.next_shake:
            self.next_shake = now + self.dice.uniform(*self.shake_every)
            self._shake()

    def _shake(self):
        unarmed = [worker for worker in self.workers if not self.lives[worker].stage]
        worker = self.dice.choice(unarmed or self.workers)
        if worker.process.poll() is None:
            self.lives[worker].told = True
            self.shakes += 1
            worker.process.send_signal(signal.SIGTERM)

    def _bury(self, worker, status):
        life = self.lives.pop(worker)
        if status == -signal.SIGKILL and life.stage:
            self.kills[life.stage] += 1
        elif life.stage:
            self.plan.insert(self.dice.randint(0, len(self.plan)), life.stage)
            if status not in IN_PEACE:
                self.exits.append((worker.name, life.stage, status))
        elif status not in IN_PEACE:
            self.exits.append((worker.name, None, status))

    def _kill(self, worker, why):
        if worker.process.poll() is not None:
            self.random_left += why == "random"  # it was dead already: that is another one's kill
            return
        life = self.lives.pop(worker)
        worker.kill()
        self.kills[why] += 1
        if life.stage:
            self.plan.insert(self.dice.randint(0, len(self.plan)), life.stage)
        self._start(worker)

    def stop(self):
        """All of them leave in peace."""
        for worker in self.workers:
            status = worker.stop()
            assert status in IN_PEACE, f"{worker.name}: exit {status}"

    def settle(self):
        """From now on nobody is killed; whoever has a stage before him is replaced."""
        for worker in self.workers:
            life = self.lives[worker]
            if life.stage or not worker.is_running():
                worker.kill()
                worker.environment = {}
                worker.start(ready=False)
            self.lives[worker] = Life(None, time.monotonic(), self.dice)
