"""The judge: what was produced, the simulator's durable book, the ledger and the dead-letter topic, joined after the drain."""
import collections
import dataclasses
import json

from signup_harness import wait_until
from stream import FATES, SEQ_FIELD, TEXT_FIELD


@dataclasses.dataclass
class Verdict:
    """What was found. Everything that is a list must be empty for promises 1 to 3 to hold."""
    events: int = 0
    accepted: int = 0
    dead: int = 0
    calls: int = 0
    extra_calls: int = 0       # calls after the first that took effect, beyond those that the API's own faults asked for
    of_unknown_fate: int = 0   # rows that were resent guarded
    second_letters: int = 0
    second_outcomes: int = 0
    slowest_s: float = 0.0     # from Kafka to the final row
    slowest: str = ""          # which event that was
    slow_s: float = 0.0        # 99 of 100 were faster
    lost: list = dataclasses.field(default_factory=list)
    wrong: list = dataclasses.field(default_factory=list)
    twice: list = dataclasses.field(default_factory=list)
    order: list = dataclasses.field(default_factory=list)
    overlaps: list = dataclasses.field(default_factory=list)
    letters: list = dataclasses.field(default_factory=list)
    outcomes: list = dataclasses.field(default_factory=list)

    def complaints(self):
        return {name: found[:3] for name, found in dataclasses.asdict(self).items() if isinstance(found, list) and found}

    def check(self):
        assert not self.complaints(), self.complaints()
        assert self.events == self.accepted + self.dead


def wait_drained(ledger, topics, timeout=120, events=None, hurry=False):
    """Until every row is final, every letter and outcome is published and marked, and every offset is committed. `hurry`: the
    leases of letters and outcomes that a dead worker left behind are taken as over, rather than waited for."""
    def final():
        states = ledger.states()
        return set(states) <= {"accepted", "dead"} and (events is None or sum(states.values()) >= events)
    wait_until(final, timeout, lambda: f"only final rows, but {ledger.states()}", interval=0.2)
    topics.source.wait_drained(topics.group, timeout)
    wait_until(final, timeout, lambda: f"only final rows, but {ledger.states()}", interval=0.2)
    if hurry:
        ledger.query("UPDATE {schema}.event SET lease_until = now() WHERE state = 'dead' AND dead_letter_published_at IS NULL")
        ledger.query("UPDATE {schema}.outcome SET lease_until = now() WHERE token IS NOT NULL")
    wait_until(lambda: not ledger.query("SELECT 1 FROM {schema}.event WHERE state = 'dead' AND "
                                        "dead_letter_published_at IS NULL LIMIT 1"), 90, "all letters marked", interval=0.2)
    wait_until(lambda: not ledger.query("SELECT 1 FROM {schema}.outcome LIMIT 1"), 90, "all outcomes told", interval=0.2)


def _judge_rows(produced, ledger, verdict):
    rows = {row["event_id"]: row for row in ledger.query(
        "SELECT event_id, state, code, maybe_sent, extract(epoch FROM finished_at)::float8 AS finished FROM {schema}.event")}
    waits = []
    for name, told in produced.items():
        row = rows.get(name)
        if row is None:
            verdict.lost.append((name, "no row"))
            continue
        wanted = "accepted" if FATES[told.kind] is None else "dead"
        if row["state"] not in ("accepted", "dead"):
            verdict.lost.append((name, row["state"]))
        elif row["state"] != wanted or (wanted == "dead" and row["code"] != FATES[told.kind]):
            verdict.wrong.append((name, row["state"], row["code"]))
        elif row["finished"] is not None and told.at:
            waits.append(row["finished"] - told.at)
            if waits[-1] > verdict.slowest_s:
                verdict.slowest_s, verdict.slowest = waits[-1], name
        verdict.of_unknown_fate += bool(row["maybe_sent"])
    verdict.wrong += [(name, "nobody produced it") for name in set(rows) - set(produced)]
    verdict.slow_s = sorted(waits)[len(waits) * 99 // 100] if waits else 0.0
    verdict.events = len(produced)
    verdict.accepted = sum(row["state"] == "accepted" for row in rows.values())
    verdict.dead = sum(row["state"] == "dead" for row in rows.values())


def _judge_calls(produced, sim, verdict):
    """By the simulator's book. Numbers of a contact never fall, whatever became of the calls; an accepted event has an
    effect; nobody is enrolled twice."""
    effects, repeats, excused = set(), 0, 0
    last, enrolled = {}, collections.Counter()
    for line in sim.book():
        if line.get("applied") and line.get("enrolled"):
            enrolled[line["phone"], line["list"]] += line["enrolled"]
        if line["phase"] != "received" or line["op"] != "upsert":
            continue
        verdict.calls += 1
        fields = json.loads(line["body"]).get("custom_fields", {})
        name, seq = fields.get(TEXT_FIELD), fields.get(SEQ_FIELD)
        if name in produced and produced[name].kind == "barred":
            verdict.wrong.append((name, "called for"))
        if name in effects:
            repeats += 1
        if line["applied"]:
            excused += bool(line.get("fault"))
            effects.add(name)
        if line["overlap"]:
            verdict.overlaps.append((name, line["seq"]))
        if seq is not None:
            if seq < last.get(line["phone"], 0):
                verdict.order.append((line["phone"], seq, "after", last[line["phone"]]))
            last[line["phone"]] = max(seq, last.get(line["phone"], 0))
    verdict.twice = [(contact, count) for contact, count in enrolled.items() if count > 1]
    verdict.extra_calls = max(0, repeats - excused)
    verdict.lost += [(name, "accepted without an effect") for name, told in produced.items()
                     if FATES[told.kind] is None and name not in effects]


def _judge_letters(topic, ledger, verdict):
    dead = {row["event_id"] for row in ledger.query("SELECT event_id FROM {schema}.event WHERE state = 'dead'")}
    names = [dict(record.headers)["signup.event_id"].decode() for record in topic.consume()]
    verdict.letters = [(name, "no letter") for name in dead - set(names)]
    verdict.letters += [(name, "a letter of one that is not dead") for name in set(names) - dead]
    verdict.second_letters = len(names) - len(set(names))


def _judge_outcomes(topic, ledger, verdict):
    """Each final row was told, and as what it is; nothing else was."""
    states = {row["event_id"]: row["state"] for row in ledger.query("SELECT event_id, state FROM {schema}.event")}
    told = [json.loads(record.value) for record in topic.consume()]
    names = {outcome["event_id"] for outcome in told}
    verdict.outcomes = [(name, "never told") for name in set(states) - names]
    verdict.outcomes += [(one["event_id"], "told as", one["state"]) for one in told
                         if states.get(one["event_id"]) != one["state"]]
    verdict.second_outcomes = len(told) - len(names)


def judge(produced, sim, ledger, topics, outcomes=None):
    """After wait_drained(). `produced` is {event id: stream.Produced}; the simulator must keep bodies. `outcomes`: the topic
    of them, if there is one."""
    verdict = Verdict()
    _judge_rows(produced, ledger, verdict)
    _judge_calls(produced, sim, verdict)
    _judge_letters(topics.dead_letter, ledger, verdict)
    if outcomes:
        _judge_outcomes(outcomes, ledger, verdict)
    return verdict
