"""What happens when trying again at once does not help: parking, giving up, billing, the fuse, reading back."""
import datetime
import email.utils
import time

import pytest

from signup_harness import wait_until
from signups import (LIST, assert_enrolled_once, assert_never_two_at_once, bodies, calls, event, letters, phone,
                     wait_settled)

QUICK = {"inline_attempts": 2, "inline_base": "20ms", "inline_cap": "100ms"}


def answer(status, code="", **more):
    return {"kind": "answer", "status": status, "code": code, "error": "for the test", "apply": False, **more}


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc)


def reads(sim, **wanted):
    return sim.book("received", op="read", **wanted)


def make_due(ledger, *names):
    """What is parked is due now, all or these events."""
    ledger.query("UPDATE {schema}.event SET due_at = now() WHERE state = 'parked' AND (%s = '{}' OR event_id = ANY (%s))",
                 (list(names), list(names)))


def warning_text(ledger, event_id, code):
    [row] = ledger.query("SELECT message FROM {schema}.warning WHERE event_id = %s AND code = %s", (event_id, code))
    return row["message"]


def test_parked_when_short_waits_do_not_help(topics, ledger, workers, sim):
    """After retry.inline_attempts failures the event is parked: its row says so and when it is due, holds the original,
    its offset is committed, other contacts flow; when due it is called again and accepted, `attempts` and the rows of
    signup.attempt go on counting, and the original is no longer kept."""
    workers(retry={**QUICK, "park_base": "1h"})
    sim.fault(answer(503, "provider_error"), op="upsert", phone=phone(0), count=2)
    topics.source.produce([event(0), event(1)], partition=0)
    row = ledger.wait_row("e-0", state="parked")
    assert row["attempts"] == 2 and row["http_status"] == 503 and row["code"] == "provider_error"
    assert row["payload"] is not None and row["finished_at"] is None
    assert row["due_at"] <= utc_now() + datetime.timedelta(hours=1)
    assert not row["maybe_sent"] and row["lease_until"] is None
    ledger.wait_row("e-1", state="accepted")
    wait_settled(topics.source, topics.group)
    make_due(ledger)
    row = ledger.wait_row("e-0", state="accepted")
    assert row["attempts"] == 3 and row["payload"] is None and row["due_at"] is None
    tries = ledger.attempts("e-0")
    assert [(entry["attempt"], entry["route"], entry["verdict"]) for entry in tries] == [
        (1, "upsert", "retry"), (2, "upsert", "retry"), (3, "upsert", "accepted")]
    assert topics.dead_letter.consume() == []


def test_parked_events_survive_restarts_and_are_anybodys(topics, ledger, workers, sim):
    """What one worker parked another one takes up, with the original's content, warnings said once."""
    first = workers(retry={**QUICK, "park_base": "1h"})
    sim.fault(answer(500), op="upsert", count=2)
    topics.source.produce([event(0, ip_address="not an address", custom_fields={"plan": "gold"})])
    ledger.wait_row("e-0", state="parked")
    assert first.stop() == 0
    assert ledger.warnings("e-0") == []
    make_due(ledger)
    workers(retry={**QUICK, "park_base": "1h"})
    row = ledger.wait_row("e-0", state="accepted")
    assert row["attempts"] == 3 and row["request"]["custom_fields"] == {"plan": "gold"} and row["maybe_sent"]
    assert ledger.warnings("e-0") == [("worker", "field_dropped")]


def test_later_events_of_the_contact_wait_behind_a_parked_one(topics, ledger, workers, book_sim, api):
    """A is parked: B and C of the same contact are parked behind it without a call, also when the worker is killed and
    another one reads; then A, B, C take effect in their order."""
    retry = {**QUICK, "park_base": "1h"}
    worker = workers(retry=retry, **api(book_sim))
    book_sim.fault(answer(503, "provider_error"), op="upsert", phone=phone(0), count=2)
    topics.source.produce([event(0, event_id="a", custom_fields={"seq": 0})], partition=0)
    ledger.wait_row("a", state="parked")
    topics.source.produce([event(0, event_id="b", custom_fields={"seq": 1})], partition=0)
    ledger.wait_row("b", state="parked")
    worker.kill()
    worker.start()
    topics.source.produce([event(0, event_id="c", custom_fields={"seq": 2}), event(1)], partition=0)
    ledger.wait_row("c", state="parked")
    ledger.wait_row("e-1", state="accepted")
    assert len(calls(book_sim, phone=phone(0))) == 2, "nobody calls while the first one waits"
    make_due(ledger, "a")
    ledger.wait_states(accepted=4)
    assert [body["custom_fields"]["seq"] for body in bodies(book_sim)[phone(0)]] == [0, 0, 0, 1, 2]
    assert [ledger.row(name)["attempts"] for name in "abc"] == [3, 1, 1]
    assert_never_two_at_once(book_sim)
    wait_settled(topics.source, topics.group)


@pytest.mark.parametrize("limit", ["max_attempts", "max_age"])
def test_given_up_in_the_end(topics, ledger, workers, sim, limit):
    """An event that fails too often, or for too long, is dead with the code of its last answer and a message that says
    that it was given up; its letter has the original."""
    bound = {"max_attempts": 4} if limit == "max_attempts" else {"max_age": "2s"}
    workers(retry={**QUICK, "park_base": "200ms", "park_cap": "500ms", **bound})
    sim.fault(answer(503, "provider_error"), op="upsert", phone=phone(0))
    topics.source.produce([event(0)])
    row = ledger.wait_row("e-0", state="dead")
    assert row["code"] == "provider_error" and row["http_status"] == 503 and "given up after" in row["error"]
    if limit == "max_attempts":
        assert row["attempts"] == 4 == len(ledger.attempts("e-0"))
    else:
        assert row["finished_at"] - row["received_at"] >= datetime.timedelta(seconds=2)
    assert ledger.attempts("e-0")[-1]["verdict"] == "dead"
    letter = letters(topics.dead_letter, 1)["e-0"]
    headers = dict(letter.headers)
    assert headers["signup.error.class"] == b"provider" and int(headers["signup.attempts"]) == row["attempts"]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_long_retry_after_parks(topics, ledger, workers, sim, form):
    """A Retry-After that is longer than the waits in memory parks the event, in both of its forms, and nobody calls
    before its time."""
    workers(retry={**QUICK, "inline_attempts": 10})
    if form == "seconds":
        wish = "3"
    else:
        wish = email.utils.formatdate(time.time() + 4, usegmt=True)
    sim.fault(answer(503, headers={"Retry-After": wish}), op="upsert", phone=phone(0), count=1)
    topics.source.produce([event(0)])
    ledger.wait_row("e-0", state="parked")
    row = ledger.wait_row("e-0", state="accepted")
    first, second = [line["at_us"] for line in calls(sim)]
    assert second - first >= 2_900_000, (second - first) / 1e6
    assert row["attempts"] == 2


def test_billing_stops_validating_events_only(topics, ledger, workers, sim):
    """402: the events that ask for validation are parked for retry.billing_step, after a handful of calls in all; the
    others flow; nobody is dead; the gate is shown and the worker stays ready. Paid again, everything goes."""
    worker = workers(retry={**QUICK, "billing_step": "4s"})
    sim.billing("no_payment_method")
    topics.source.produce([event(0, use_validation=True)])
    row = ledger.wait_row("e-0", state="parked")
    assert row["http_status"] == 402 and row["code"] == "no_payment_method" and row["attempts"] == 1
    tried = ledger.attempts("e-0")[-1]["at"]
    assert datetime.timedelta(seconds=3) < row["due_at"] - tried < datetime.timedelta(seconds=6)
    topics.source.produce([event(number, use_validation=number % 2 == 0) for number in range(1, 101)])
    ledger.wait_states(accepted=50, parked=51)
    assert len([line for line in calls(sim) if line["code"] == "no_payment_method"] or calls(sim, phone=phone(0))) <= 2
    assert {row["attempts"] for row in ledger.rows("state = 'parked' AND event_id <> 'e-0'")} == {0}
    gate = {entry["route"]: entry for entry in worker.status()["gates"]}["validate"]
    assert not gate["open"] and "billing" in gate["why"] and worker.is_ready()
    assert worker.log_text().count("validating events wait") == 1
    sim.billing("")
    ledger.wait_states(accepted=101)
    assert topics.dead_letter.consume() == []
    assert all(row["validation"] for row in ledger.rows("request->>'use_validation' = 'true'"))


def test_billing_without_validation(topics, ledger, workers, sim):
    """validation.on_billing_error: without_validation: the contacts go without, with a warning each; after the first
    402 nobody asks for validation in vain."""
    workers(validation={"on_billing_error": "without_validation"})
    sim.billing("payment_failed")
    topics.source.produce([event(0, use_validation=True)])
    ledger.wait_states(accepted=1)
    topics.source.produce([event(number, use_validation=True) for number in range(1, 21)])
    ledger.wait_states(accepted=21)
    assert len(calls(sim)) == 22
    for number in range(21):
        assert ledger.warnings(f"e-{number}") == [("worker", "validation_skipped")]
        assert ledger.row(f"e-{number}")["request"]["use_validation"] is False


def test_billing_dead(topics, ledger, workers, sim):
    workers(validation={"on_billing_error": "dead"})
    sim.billing("suspended")
    topics.source.produce([event(number, use_validation=True) for number in range(5)] + [event(5)])
    ledger.wait_states(accepted=1, dead=5)
    assert {row["code"] for row in ledger.rows("state = 'dead'")} == {"suspended"}


def test_billing_gives_up_at_max_age(topics, ledger, workers, sim):
    workers(retry={**QUICK, "billing_step": "700ms", "max_age": "2s"})
    sim.billing("suspended")
    topics.source.produce([event(number, use_validation=True) for number in range(10)])
    ledger.wait_states(dead=10)
    assert {row["code"] for row in ledger.rows()} == {"suspended"}
    assert all(row["finished_at"] - row["received_at"] >= datetime.timedelta(seconds=2) for row in ledger.rows())


def test_the_fuse_keeps_a_wrong_url_from_killing_the_topic(topics, ledger, workers, sim):
    """Everything is a 404: retry.fuse events die, then the route is held, /readyz and one log line say so, nobody else
    dies; when the answers are good again it goes on by itself and the others are accepted."""
    worker = workers(retry={**QUICK, "fuse": 20}, contacts_api={"max_in_flight": 8})
    sim.fault(answer(404), op="upsert")
    topics.source.produce([event(number) for number in range(200)])
    worker.wait_not_ready(reason="fuse")
    wait_until(lambda: ledger.states().get("dead") == 20, 10, lambda: f"twenty deaths: {ledger.states()}")
    probes = len(calls(sim))
    wait_until(lambda: len(calls(sim)) >= probes + 2, 20, "probes")
    assert ledger.states()["dead"] == 20
    assert "fuse" in worker.log_text()
    sim.clear_faults()
    worker.wait_ready()
    ledger.wait_states(accepted=180, dead=20)


def test_the_fuse_ignores_answers_that_speak_of_the_event(topics, ledger, workers, sim):
    """Fifty invalid phones in a row are fifty dead events and nothing else; a list that does not exist among good ones
    does not hold the route either."""
    worker = workers(retry={**QUICK, "fuse": 20})
    for number in range(50):
        sim.fault(answer(400, "invalid_phone"), op="upsert", phone=phone(number))
    topics.source.produce([event(number) for number in range(60)])
    ledger.wait_states(accepted=10, dead=50)
    sim.clear_faults()
    for number in range(101, 200, 2):
        sim.fault(answer(400, "list_not_found"), op="upsert", phone=phone(number))
    topics.source.produce([event(number) for number in range(100, 200)], partition=0)
    ledger.wait_states(accepted=60, dead=100)
    assert worker.is_ready() and worker.status()["counters"]["fuses"] == 0


@pytest.mark.parametrize("took_effect", [True, False])
def test_read_back_before_a_guarded_resend(topics, ledger, workers, sim, took_effect):
    """The event asked for skip_journey_if_exists: false and its call was of unknown fate: the contact is read back, the
    resend is guarded, and the warning says what was found. Nobody is enrolled twice."""
    workers(retry=QUICK)
    sim.fault({"kind": "close", "at": "after_request", "apply": took_effect}, op="upsert", phone=phone(0), count=1)
    topics.source.produce([event(0, skip_journey_if_exists=False)])
    ledger.wait_row("e-0", state="accepted")
    assert len(reads(sim)) == 1 and len(calls(sim)) == 2
    text = warning_text(ledger, "e-0", "journey_resend_guarded")
    assert ("was on the list already" if took_effect else "was not on the list") in text
    assert "3125" not in text and "+1" not in text
    assert [entry["route"] for entry in ledger.attempts("e-0")] == ["upsert", "read", "upsert"]
    assert ledger.row("e-0")["attempts"] == 2
    assert_enrolled_once(sim)


def test_a_read_that_fails_does_not_stop_the_event(topics, ledger, workers, sim):
    workers(retry=QUICK)
    sim.fault({"kind": "close", "at": "after_request", "apply": True}, op="upsert", phone=phone(0), count=1)
    sim.fault(answer(500), op="read")
    topics.source.produce([event(0, skip_journey_if_exists=False)])
    ledger.wait_row("e-0", state="accepted")
    assert "could not be read back" in warning_text(ledger, "e-0", "journey_resend_guarded")
    assert_enrolled_once(sim)


def test_many_due_at_once_share_with_fresh_traffic(topics, ledger, workers, sim):
    """Three thousand parked events fall due in one moment while fresh ones arrive: both are served side by side, two
    workers share them, each takes effect once."""
    few = {"max_in_flight": 16}
    first = workers(retry=QUICK, contacts_api=few)
    sim.billing("no_payment_method")
    topics.source.produce([event(number, use_validation=True) for number in range(3000)])
    ledger.wait_states(parked=3000)
    sim.billing("")
    first.restart()  # and its gate knows nothing of the unpaid bill
    workers(retry=QUICK, contacts_api=few)
    sim.latency(20)
    make_due(ledger)
    wait_until(lambda: ledger.states().get("accepted", 0) >= 100, 30, "the first ones to be taken up")
    topics.source.produce([event(10000 + number) for number in range(3000)])
    ledger.wait_states(accepted=6000, timeout=90)
    sim.latency(0)
    order = [int(line["phone"][5:]) - 2000000 for line in sim.effects()]
    first_fresh = next(place for place, number in enumerate(order) if number >= 10000)
    together = order[first_fresh:first_fresh + 1000]
    fresh = sum(number >= 10000 for number in together)
    assert 100 < fresh < 900, f"{fresh} of 1000 were fresh"
    assert_enrolled_once(sim)
    assert_never_two_at_once(sim)
    wait_settled(topics.source, topics.group)


def test_a_rate_of_the_configuration(topics, ledger, workers, sim):
    """rate.upsert bounds the calls a second, bursts of a tenth of a second apart."""
    workers(rate={"upsert": 50})
    topics.source.produce([event(number) for number in range(150)])
    ledger.wait_states(accepted=150)
    times = [line["at_us"] for line in calls(sim)]
    assert times[-1] - times[0] >= 2_700_000, (times[-1] - times[0]) / 1e6
