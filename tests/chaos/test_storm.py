"""kill -9 at every named stage and at random instants, over up to four workers and a steady flow of events."""
import os
import random
import time

import pytest

from fleet import Fleet, crash_points
from oracle import judge, wait_drained
from results import figure, row
from signup_harness import wait_until
from stream import GATED, Mix, Stream
from telling import Progress, summarize
from watch import Watcher
from weather import weather_over

SHARES = {"again": 46, "single": 30, "gated": 10, "validated": 6, "bad": 3, "refused": 3, "barred": 2}
CONCURRENCY = 24  # contacts_api.max_in_flight of each worker
STAGES_IN_COMPANY = ("in_revoke", "in_assign", "in_drain")  # met where workers come and go, not with a fixed seat each
ROWS = {  # of faults.md, and the stages that answer for them
    1: ("kill -9 after fetch, before dispatch", ["after_fetch"]),
    2: ("kill -9 after durable intent, before send", ["after_claim_sent", "after_claim"]),
    3: ("kill -9 after send, before response", ["after_call_sent"]),
    4: ("kill -9 after response, before the record", ["after_call_answer", "after_lookup_answer"]),
    5: ("kill -9 between COMMIT sent and answer", ["after_record_sent"]),
    6: ("kill -9 between dead row, letter and mark; the same of outcomes",
        ["before_publish", "after_publish", "after_mark", "after_outcome_publish", "after_outcome_mark"]),
    7: ("kill -9 after the row, before and after the offset commit", ["after_record", "before_commit", "after_commit"]),
    8: ("kill -9 during a rebalance", ["in_assign", "in_revoke"]),
    9: ("kill -9 during the drain of a shutdown", ["in_drain"]),
}


def settings(sim, outcomes, static):
    """Short times, so that whatever waits comes round within the run."""
    return {
        "contacts_api": {"base_url": sim.base_url(), "validation_url": sim.validation_url(), "max_in_flight": CONCURRENCY,
                         "timeout": "1500ms"},
        "retry": {"inline_attempts": 2, "inline_base": "50ms", "inline_cap": "1s", "park_base": "500ms", "park_cap": "2s",
                  "billing_step": "1500ms", "max_age": "1h", "max_attempts": 10000},
        "limits": {"lease": "3s", "shutdown": "5s"},
        "routes": [GATED],
        # A fixed seat keeps its partitions over a restart; without one the group waits for the dead member's session.
        "kafka": {"commit_interval": "200ms", "outcomes_topic": outcomes.name, "properties": {
            "session.timeout.ms": 4000 if static else 1500, "heartbeat.interval.ms": 300}},
    }


def make_workers(workers, sim, outcomes, count, static):
    made = []
    for number in range(1, count + 1):
        options = settings(sim, outcomes, static)
        if static:
            options["kafka"]["properties"]["group.instance.id"] = f"seat-{number}"
        made.append(workers(start=False, name=f"{'seat' if static else 'guest'}{number}", **options))
    return made


def storm(fleet, stream, weather, progress, deadline_s):
    """Until every planned kill was made."""
    deadline = time.monotonic() + deadline_s
    fleet.start()
    while not fleet.done():
        fleet.step()
        weather.step()
        progress.show(f"{fleet.killed} kills, {len(fleet.plan)} stages and {max(0, fleet.random_left)} random ones to go, "
                      f"{stream.count} events, API {weather.mood}")
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {fleet.plan} left, missed {dict(fleet.missed)}"
        stream.ended.wait(0.01)
    fleet.settle()


def run_storm(parts, seed, stages, per_stage, random_kills, rate, deadline_s, hurry):
    """Two parts: with fixed seats, where a restart takes no rebalance, and in company, where each death is one."""
    topics, ledger, workers, sim, outcomes, title = parts
    dice = random.Random(seed)
    stream = Stream(topics.source, Mix(dice, shares=SHARES), rate).start()
    wait_until(lambda: stream.count > rate, 30, "a flow of events")
    kills, progress, fleets = {}, Progress(title), []
    began = time.monotonic()
    with weather_over(sim, dice) as weather:
        for static in (True, False):
            mine = [name for name in stages if (name not in STAGES_IN_COMPANY) == static]
            share = random_kills * 3 // 4 if static else random_kills - random_kills * 3 // 4
            fleet = Fleet(dice, make_workers(workers, sim, outcomes, 4, static),
                          [name for name in mine for _ in range(per_stage)], share,
                          shake_every=None if static else (0.7, 2.5))
            fleets.append(fleet)
            watcher = Watcher(topics, ledger, fleet.workers)
            storm(fleet, stream, weather, progress, deadline_s)
            watcher.close().check()
            for why, count in fleet.kills.items():
                kills[why] = kills.get(why, 0) + count
            if static:
                fleet.stop()
        took = time.monotonic() - began
        stream.stop()
    wait_drained(ledger, topics, 120, stream.count, hurry)
    verdict = judge(stream.produced, sim, ledger, topics, outcomes)
    progress.close()
    exits = [one for fleet in fleets for one in fleet.exits]
    return verdict, kills, took, weather.seen, exits


def tell(capsys, verdict, kills, took, moods, exits):
    total = sum(kills.values())
    with capsys.disabled():
        print(f"\n    {total} kills in {took:.0f} s: {dict(sorted(kills.items()))}"
              f"\n    {verdict.events} events: {verdict.accepted} accepted, {verdict.dead} dead; {verdict.calls} calls, "
              f"{verdict.extra_calls} too many ({verdict.extra_calls / max(1, total):.2f} a kill), {verdict.of_unknown_fate} of "
              f"unknown fate resolved, {verdict.second_letters} second letters, {verdict.second_outcomes} second outcomes, events took at most {verdict.slow_s:.1f} s (99 of 100), "
              f"{verdict.slowest_s:.1f} s ({verdict.slowest})"
              f"\n    moods of the API: {moods}; other exits: {exits[:5]}", end="")


@pytest.mark.partitions(8)
def test_storm(topics, ledger, workers, book_sim, broker, seed, length, capsys):
    """At least 1,000 seeded kill -9 in the long run: each named stage 50 times, and 400 at random instants (every 50 to
    1500 ms); a few of each in the short one. Nothing lost, nobody enrolled twice, order kept, the extra calls counted."""
    stages = [name for name, _ in crash_points() if name in (os.environ.get("SIGNUP_CHAOS_STAGES") or name).split(",")]
    per_stage, random_kills = (50, 400) if length.long else (1, 12)
    if length.kills:
        per_stage = max(1, length.kills * 2 // 3 // len(stages))
        random_kills = max(0, length.kills - per_stage * len(stages))
    verdict, kills, took, moods, exits = run_storm(
        (topics, ledger, workers, book_sim, broker.create_topic(f"{topics.source.name}.outcomes", 3), "storm"), seed, stages, per_stage, random_kills, 80,
        2400 if length.long else 240,
        hurry=not length.long)
    tell(capsys, verdict, kills, took, moods, exits)
    total = sum(kills.values())
    summarize("storm of kill -9", seed, total, None, verdict, verdict.slowest_s,
              f"{verdict.extra_calls / total:.2f} extra calls a kill")
    for number, (fault, names) in ROWS.items():
        with row(number, fault, "crash points " + ", ".join(names), broker) as found:
            found.note(f"{sum(kills.get(name, 0) for name in names)} kills")
            verdict.check()
    with row(10, "random kill -9, 4 workers", "supervisor, every 50-1500 ms, seeded", broker) as found:
        found.note(f"{kills['random']} kills, seed {seed}")
        found.recovery(verdict.slowest_s)
        verdict.check()
    assert not exits, exits
    assert verdict.extra_calls <= CONCURRENCY * total
    if length.long:
        figure("kill -9 points in one proof", "3-6 (Kafka)", ">= 1,000 seeded, >= 12 stages x >= 50, 400 random; 0 lost, "
               "0 enrolled twice, 0 order breaks", f"{total} kills (seed {seed}), {len(stages)} stages x {per_stage}, "
               f"{kills['random']} random; {len(verdict.lost)} lost, {len(verdict.twice)} twice, {len(verdict.order)} order breaks, "
               f"{verdict.events} events, {took:.0f} s")
        figure("duplicates tolerated", "< 20 % (Parallel Consumer)", "0 effects; extra calls a kill <= concurrency",
               f"0 effects, {verdict.extra_calls} extra calls = {verdict.extra_calls / total:.2f} a kill (concurrency {CONCURRENCY})")
