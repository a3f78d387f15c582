"""The judge judges: evidence in which something is wrong is complained of, each wrong by its own name."""
import json
import types

import pytest

import results
from oracle import judge
from stream import FATES, SEQ_FIELD, TEXT_FIELD, Produced
from watch import Watcher

LIST = "+18335550100"
PRODUCED = {one.event_id: one for one in (
    Produced("again-1-0", "again", "+13122000001", 0, 100.0), Produced("again-1-1", "again", "+13122000001", 1, 100.0),
    Produced("single-2", "single", "+13122000002", None, 100.0), Produced("bad-3", "bad", None, None, 100.0),
    Produced("barred-4", "barred", "+12132009001", None, 100.0))}


def call(seq, name, phone, number=None, **changes):
    fields = {TEXT_FIELD: name, **({} if number is None else {SEQ_FIELD: number})}
    return {"seq": seq, "phase": "received", "op": "upsert", "phone": phone, "list": LIST, "applied": True, "enrolled": 1,
            "overlap": False, "body": json.dumps({"phone_number": phone, "custom_fields": fields}), **changes}


class Evidence:
    """All is well in it; each test spoils one thing."""

    def __init__(self):
        self.rows = {name: {"event_id": name, "state": "accepted" if FATES[one.kind] is None else "dead", "maybe_sent": False,
                            "code": FATES[one.kind], "finished": 101.5}
                     for name, one in PRODUCED.items()}
        self.lines = [call(1, "again-1-0", "+13122000001", 0), call(2, "again-1-1", "+13122000001", 1, enrolled=0),
                      call(3, "single-2", "+13122000002")]
        self.letters = ["bad-3", "barred-4"]
        self.outcomes = [(name, row["state"]) for name, row in self.rows.items()]

    def judge(self):
        def query(sql, parameters=None):
            rows = list(self.rows.values())
            return [row for row in rows if row["state"] == "dead"] if "state = 'dead'" in sql else rows
        topic = types.SimpleNamespace(consume=lambda: [
            types.SimpleNamespace(headers=[("signup.event_id", name.encode())]) for name in self.letters])
        outcomes = types.SimpleNamespace(consume=lambda: [
            types.SimpleNamespace(value=json.dumps({"event_id": name, "state": state})) for name, state in self.outcomes])
        return judge(PRODUCED, types.SimpleNamespace(book=lambda: self.lines), types.SimpleNamespace(query=query),
                     types.SimpleNamespace(dead_letter=topic), outcomes)


def test_nothing_wrong():
    """Sound evidence passes."""
    verdict = Evidence().judge()
    verdict.check()
    assert (verdict.events, verdict.accepted, verdict.dead, verdict.calls, verdict.extra_calls) == (5, 3, 2, 3, 0)
    assert verdict.slowest_s == pytest.approx(1.5)


def spoil_row(evidence):
    del evidence.rows["single-2"]


def spoil_parked(evidence):
    evidence.rows["single-2"]["state"] = "parked"


def spoil_effect(evidence):
    evidence.lines[2]["applied"] = False


def spoil_state(evidence):
    evidence.rows["bad-3"].update(state="accepted", code=None)


def spoil_code(evidence):
    evidence.rows["bad-3"]["code"] = "list_not_found"


def spoil_stranger(evidence):
    evidence.rows["stranger"] = {**evidence.rows["single-2"], "event_id": "stranger"}


def spoil_enrolment(evidence):
    evidence.lines.append(call(4, "single-2", "+13122000002"))


def spoil_order(evidence):
    evidence.lines.append(call(4, "again-1-0", "+13122000001", 0, enrolled=0))


def spoil_overlap(evidence):
    evidence.lines[1]["overlap"] = True


def spoil_letter(evidence):
    evidence.letters.clear()


def spoil_foreign_letter(evidence):
    evidence.letters.append("single-2")


def spoil_gate(evidence):
    evidence.lines.append(call(4, "barred-4", "+12132009001"))


def spoil_outcome(evidence):
    evidence.outcomes.pop()


def spoil_told_state(evidence):
    evidence.outcomes[0] = (evidence.outcomes[0][0], "dead")


@pytest.mark.parametrize("spoil,name", [
    (spoil_row, "lost"), (spoil_parked, "lost"), (spoil_effect, "lost"), (spoil_state, "wrong"), (spoil_code, "wrong"),
    (spoil_stranger, "wrong"), (spoil_enrolment, "twice"), (spoil_order, "order"), (spoil_overlap, "overlaps"),
    (spoil_letter, "letters"), (spoil_foreign_letter, "letters"), (spoil_gate, "wrong"),
    (spoil_outcome, "outcomes"), (spoil_told_state, "outcomes")], ids=lambda one: getattr(one, "__name__", one))
def test_complaint(spoil, name):
    """Each spoiled piece of evidence is complained of."""
    evidence = Evidence()
    spoil(evidence)
    verdict = evidence.judge()
    assert name in verdict.complaints()
    with pytest.raises(AssertionError):
        verdict.check()


def test_extra_calls():
    """A repeated call counts, but not when the API itself had hidden its answer."""
    evidence = Evidence()
    evidence.lines.append(call(4, "again-1-1", "+13122000001", 1, enrolled=0))
    assert evidence.judge().extra_calls == 1
    evidence.lines[1]["fault"] = "reset after_request"
    assert evidence.judge().extra_calls == 0


class Offsets:
    """A consumer that says what it is told to."""

    def __init__(self, committed, high):
        self.offset, self.high = committed, high

    def committed(self, partitions, timeout):
        return [types.SimpleNamespace(partition=0, offset=self.offset)]

    def get_watermark_offsets(self, partition, timeout):
        return 0, self.high


def watcher(rows):
    topic = types.SimpleNamespace(name="t", partitions=1, broker=None)
    made = Watcher.__new__(Watcher)
    made.topics, made.ledger = types.SimpleNamespace(source=topic), types.SimpleNamespace(query=lambda *_: rows)
    made.complaints, made.committed, made.commits, made.moved_at = [], {}, 0, {}
    made.stall_s, made.stalled, made.partitions = 0.0, None, [None]
    return made


def test_offsets_that_go_back():
    """An offset that goes back, and one beyond a row that is not durable, are complained of."""
    seen = watcher([])
    for offset in (5, 9, 9):
        seen._look(Offsets(offset, 20))  # pylint: disable=protected-access
    seen.check()
    seen._look(Offsets(7, 20))  # pylint: disable=protected-access
    with pytest.raises(AssertionError):
        seen.check()
    ahead = watcher([{"event_id": "e", "partition": 0, "offset": 3}])
    ahead._look(Offsets(5, 20))  # pylint: disable=protected-access
    with pytest.raises(AssertionError):
        ahead.check()


def test_results_keep_failures(tmp_path, monkeypatch):
    """A fault that failed once in a run stays failed in its tables, and a row that was run replaces what was known of it."""
    found = tmp_path / "found"
    monkeypatch.setenv("SIGNUP_CHAOS_RESULTS", str(found))
    monkeypatch.setattr(results, "STORE", tmp_path / "store.json")
    results.record(1, "a fault", "somehow", "real", results.PASSED, 1.5)
    results.record(2, "other", "somehow", "mock", results.PASSED)
    results.merge(found)
    found.unlink()
    with pytest.raises(ZeroDivisionError):
        with results.row(1, "a fault", "somehow", "real"):
            raise ZeroDivisionError
    results.record(1, "a fault", "somehow", "real", results.PASSED)
    rows = {line["row"]: line["result"] for line in results.merge(found)["rows"]}
    assert rows == {1: results.FAILED, 2: results.PASSED}
