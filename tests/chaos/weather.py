"""The API's moods: some calls always fail, and now and then everything does for a while."""
import contextlib
import time

MOODS = ("calm", "calm", "slow", "outage", "throttled", "billing", "key")


class Weather:
    """Call step() often. `rain` are the rules that hold all the time; a mood lies over them for one to three seconds."""

    RETRY_SOON = {"Retry-After": "1"}
    RETRY_LATER = {"Retry-After": "2"}

    def __init__(self, sim, dice, latency=(3, 15), moods=MOODS, calm_s=(4, 12)):
        self.sim, self.dice, self.latency, self.moods, self.calm_s = sim, dice, latency, moods, calm_s
        self.mood, self.until, self.seen = "calm", 0.0, {}
        self.clear()

    def _rain(self):
        def rule(probability, action, op="upsert"):
            return {"op": op, "probability": probability, "action": action}
        return [
            rule(0.02,
                 {"kind": "answer", "status": 503, "code": "provider_error", "apply": False, "headers": self.RETRY_LATER}),
            rule(0.02,
                 {"kind": "answer", "status": 503, "code": "provider_error", "apply": False, "headers": self.RETRY_SOON}),
            rule(0.01, {"kind": "answer", "status": 500, "code": "internal_error", "apply": False}),
            rule(0.005, {"kind": "reset", "at": "after_request", "apply": True}),
            rule(0.001, {"kind": "hang", "at": "after_request", "apply": True}),
            rule(0.02, {"kind": "answer", "status": 503, "code": "provider_error", "apply": False}, "validate"),
            rule(0.01, {"kind": "reset", "at": "after_request", "apply": True}, "validate"),
        ]

    def clear(self):
        """Calm, and the rain alone."""
        self.mood = "calm"
        self.sim.clear_faults()
        self.sim.faults(self._rain())
        self.sim.latency(*self.latency)
        self.sim.keys(self.sim.key)
        self.sim.billing(None)

    def end(self):
        """Not even rain."""
        self.clear()
        self.sim.clear_faults()
        self.sim.latency(1, 3)

    def step(self):
        if time.monotonic() < self.until:
            return
        self.clear()
        mood = self.dice.choice(self.moods)
        self.seen[mood] = self.seen.get(mood, 0) + 1
        self.until = time.monotonic() + self.dice.uniform(1, 3)
        if mood == "calm":
            self.until = time.monotonic() + self.dice.uniform(*self.calm_s)
        elif mood == "slow":
            self.sim.latency(150, 500)
        elif mood == "outage":
            self._over({"kind": "answer", "status": 503, "apply": False})
        elif mood == "throttled":
            self._over({"kind": "answer", "status": 429, "code": "rate_limited", "apply": False, "headers": self.RETRY_SOON})
        elif mood == "billing":
            self.sim.billing("suspended")
        elif mood == "key":
            self.sim.keys("trk_00000000000000000000000000000000")
        self.mood = mood

    def _over(self, action):
        self.sim.clear_faults()
        self.sim.faults([{"op": "upsert", "action": action}, *self._rain()])


@contextlib.contextmanager
def weather_over(sim, dice, **options):
    weather = Weather(sim, dice, **options)
    try:
        yield weather
    finally:
        weather.end()
