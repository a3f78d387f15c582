"""Phone validation: whose phone is looked up and when, what the gate lets through, what is remembered, and that
nobody is lost or charged twice while it cannot be had."""
import json

import pytest

from signup_harness import ContactsSim, wait_until
from signups import (DO_NOT_CALL, LANDLINE, LIST, NOT_IN_USE, OTHER_LIST, PRICE_USD, PROVIDER_AWAY, REJECTED_VOIP,
                     UNDETERMINED, VOIP, assert_enrolled_once, bodies, calls, event, letters, make_due, phone,
                     wait_settled, warning_texts)

GATED, INLINED, PLAIN = "+18335550111", "+18335550112", "+18335550113"  # lists whose mode the configuration says
GATE = {"mode": "gate"}
GATED_LIST_ONLY = {"mode": "off", "lists": {LIST: "gate"}}
QUICK = {"inline_attempts": 2, "inline_base": "20ms", "inline_cap": "200ms", "billing_step": "1h"}


def answer(status, code="", **more):
    return {"kind": "answer", "status": status, "code": code, "error": "for the test", "apply": False, **more}


def mode_seen(sim, number):
    """What was done about the phone of event(number), by the simulator's book."""
    [body] = bodies(sim)[phone(number)]
    asked = len(sim.lookups(phone=phone(number)))
    assert asked <= 1 and not (asked and body["use_validation"]), "looked up twice"
    return "gate" if asked else "inline" if body["use_validation"] else "off"


# What the event says, and the mode that follows from it; None: the configuration's.
MODES = [
    ({}, None),
    ({"list_number": GATED}, "gate"),
    ({"list_number": INLINED}, "inline"),
    ({"list_number": PLAIN}, "off"),
    ({"url": "https://www.example.com/gate/a?b"}, "gate"),
    ({"url": "https://www.example.com/gate/a", "list_number": PLAIN}, "gate"),
    ({"url": "https://www.example.com/off/", "list_number": GATED}, "off"),
    ({"use_validation": True}, "inline"),
    ({"use_validation": "yes", "list_number": GATED}, "inline"),
    ({"use_validation": False, "list_number": GATED}, "off"),
    ({"use_validation": "0", "url": "https://www.example.com/gate/"}, "off"),
    ({"use_validation": True, "url": "https://www.example.com/gate/"}, "inline"),
    ({"use_validation": False, "url": "https://www.example.com/must/"}, "gate"),
    ({"use_validation": True, "url": "https://www.example.com/must/", "list_number": PLAIN}, "gate"),
]


@pytest.mark.parametrize("mode", ["off", "inline", "gate"])
def test_the_mode_of_an_event(topics, ledger, workers, book_sim, api, mode):
    """off, inline or gate: the event's use_validation beats the route, the route the list, the list validation.mode;
    only a route that overrides beats the event."""
    workers(validation={"mode": mode, "lists": {GATED: "gate", INLINED: "inline", PLAIN: "off"}},
            routes=[{"when": {"url": "*.example.com/gate/*"}, "validation": "gate"},
                    {"when": {"url": "*.example.com/off/*"}, "validation": "off"},
                    {"when": {"url": "*.example.com/must/*"}, "validation": "gate", "override": True}], **api(book_sim))
    topics.source.produce([event(number, **fields) for number, (fields, _) in enumerate(MODES)])
    ledger.wait_states(accepted=len(MODES))
    seen = [mode_seen(book_sim, number) for number in range(len(MODES))]
    assert seen == [wanted or mode for _, wanted in MODES]
    for number, done in enumerate(seen):
        row = ledger.row(f"e-{number}")
        assert (row["validation"] is None) == (done == "off"), number
        assert row["attempts"] == 1 and row["request"] == bodies(book_sim)[phone(number)][0]
        assert ledger.attempts(f"e-{number}") == [], "the row itself says it all"
        if done != "off":
            assert row["validation"]["disposition"] == "ok" and row["validation"]["cost"] == PRICE_USD
    known = {row["phone_number"] for row in ledger.query("SELECT phone_number FROM {schema}.phone_validation")}
    assert known == {phone(number) for number, done in enumerate(seen) if done != "off"}


DISPOSITIONS = {1: "ok", LANDLINE: "unreachable", VOIP: "unreachable", DO_NOT_CALL: "risky", NOT_IN_USE: "invalid",
                UNDETERMINED: "unknown"}


@pytest.mark.parametrize("allow, passing", [
    (None, {"ok", "unknown"}),
    (["ok"], {"ok"}),
    ({"risky": True, "unknown": False, "unreachable": True}, {"ok", "risky", "unreachable"}),
], ids=["default", "list", "map"])
def test_what_the_gate_lets_through(topics, ledger, workers, sim, allow, passing):
    """validation.gate.allow decides by disposition; whoever is refused is dead with validation_refused and the
    disposition, has a letter, and never reaches the list; what was found out is recorded in either case."""
    worker = workers(validation={**GATE, **({} if allow is None else {"gate": {"allow": allow}})})
    refused = {number for number, disposition in DISPOSITIONS.items() if disposition not in passing}
    topics.source.produce([event(number) for number in DISPOSITIONS])
    ledger.wait_states(accepted=len(DISPOSITIONS) - len(refused), dead=len(refused))
    by_id = letters(topics.dead_letter, len(refused))
    for number, disposition in DISPOSITIONS.items():
        row = ledger.row(f"e-{number}")
        assert row["validation"]["disposition"] == disposition and row["validation"]["cost"] == PRICE_USD
        assert len(sim.lookups(phone=phone(number))) == 1
        assert len(calls(sim, phone=phone(number))) == (number not in refused)
        if number not in refused:
            assert row["state"] == "accepted" and row["code"] is None
            continue
        assert (row["state"], row["code"], row["error_class"]) == ("dead", "validation_refused", "rejected")
        assert row["http_status"] is None and f'"{disposition}"' in row["error"] and "gate.allow" in row["error"]
        assert phone(number)[1:] not in row["error"] and row["request"] is None
        headers = dict(by_id[f"e-{number}"].headers)
        assert headers["signup.error.code"] == b"validation_refused"
        assert headers["signup.error.class"] == b"rejected" and "signup.error.status" not in headers
        assert headers["signup.error.message"].decode() == row["error"]
        assert json.loads(by_id[f"e-{number}"].value) == event(number)
    found = ledger.query("SELECT phone_number, disposition FROM {schema}.phone_validation")
    assert {row["phone_number"]: row["disposition"] for row in found} == {
        phone(number): disposition for number, disposition in DISPOSITIONS.items()}
    assert sim.stats()["list_contacts"] == len(DISPOSITIONS) - len(refused)
    assert worker.status()["counters"]["validations_refused"] == len(refused)
    assert worker.metric("signup_validations_refused_total") == len(refused)
    assert worker.status()["counters"]["fuses"] == 0
    wait_settled(topics.source, topics.group)


def test_what_is_known_costs_neither_money_nor_a_call(topics, ledger, workers, sim):
    """A phone that was validated once is not looked up again, by another worker and for another list neither, and a
    refused one is refused again; beyond validation.remember it is, once, and remembered anew."""
    first = workers(validation={**GATE, "remember": "1h"})
    topics.source.produce([event(1, event_id="one"), event(VOIP, event_id="voip")])
    ledger.wait_states(accepted=1, dead=1)
    topics.source.produce([event(1, event_id="one-again", list_number=OTHER_LIST),
                           event(VOIP, event_id="voip-again", list_number=OTHER_LIST)])
    ledger.wait_states(accepted=2, dead=2)
    assert first.status()["counters"]["validations_known"] == 2
    assert first.stop() == 0

    worker = workers(validation={**GATE, "remember": "1h"})
    topics.source.produce([event(1, event_id="one-more"), event(VOIP, event_id="voip-more")])
    ledger.wait_states(accepted=3, dead=3)
    assert len(sim.lookups()) == 2 and sim.stats()["lookups_paid"] == 2
    for name, disposition in (("one", "ok"), ("voip", "unreachable")):
        paid = ledger.row(name)["validation"]
        assert (paid["disposition"], paid["cost"], paid["cached"]) == (disposition, PRICE_USD, False)
        for again in (f"{name}-again", f"{name}-more"):
            known = ledger.row(again)["validation"]
            assert (known["disposition"], known["cost"]) == (disposition, 0), again
            assert ledger.attempts(again) == []

    ledger.query("UPDATE {schema}.phone_validation SET validated_at = now() - interval '61 minutes'")
    for number in range(3):  # the first of them makes a call
        topics.source.produce([event(1, event_id=f"late-{number}")])
        ledger.wait_row(f"late-{number}", state="accepted")
    assert len(sim.lookups(phone=phone(1))) == 2 and len(sim.lookups()) == 3
    assert sim.stats()["lookups_paid"] == 2, "the vendor gives it free"
    assert worker.status()["counters"]["validations"] == 1
    old = ledger.query("SELECT phone_number FROM {schema}.phone_validation WHERE validated_at < now() - interval '1 hour'")
    assert [row["phone_number"] for row in old] == [phone(VOIP)]


def test_nothing_is_remembered_where_the_configuration_says_so(topics, ledger, workers, sim):
    """validation.remember: 0: every event is looked up, and the vendor's cache keeps it free."""
    workers(validation={**GATE, "remember": "0s"})
    for number in range(3):
        topics.source.produce([event(1, event_id=f"e-{number}")])
        ledger.wait_row(f"e-{number}", state="accepted")
    assert len(sim.lookups()) == 3 and sim.stats()["lookups_paid"] == 1
    assert [ledger.row(f"e-{number}")["validation"]["cost"] for number in range(3)] == [PRICE_USD, 0, 0]


def test_one_lookup_for_all_events_of_a_phone(topics, ledger, workers, sim):
    """Ten signups of one phone for ten lists at the same time share one lookup, and so do ten of one that is refused;
    it is paid once in the ledger, too."""
    worker = workers(validation=GATE)
    sim.fault({"kind": "answer", "delay_ms": 400}, op="validate")
    lists = [f"+1833555012{number}" for number in range(10)]
    topics.source.produce([event(number, event_id=f"{number}-{place}", list_number=to)
                           for number in (1, NOT_IN_USE) for place, to in enumerate(lists)])
    ledger.wait_states(accepted=10, dead=10)
    assert len(sim.lookups(phone=phone(1))) == len(sim.lookups(phone=phone(NOT_IN_USE))) == 1
    assert {line["list"] for line in calls(sim)} == set(lists) and len(calls(sim)) == 10
    [spend] = ledger.query("SELECT sum((validation ->> 'cost')::numeric) AS cost FROM {schema}.event")
    assert float(spend["cost"]) == pytest.approx(2 * PRICE_USD)
    counters = worker.status()["counters"]
    assert (counters["validations"], counters["validations_shared"]) == (2, 18), counters
    assert counters["validations_paid"] == 2


def test_force_pays_again(topics, ledger, workers, book_sim, api):
    """force goes on as a strict boolean, in the gate's lookup and in the upsert, whatever the event spells it like,
    and a forced lookup of a known phone is made and paid for; what is not forced says so or nothing."""
    workers(validation={"mode": "off", "lists": {LIST: "gate", OTHER_LIST: "inline"}}, **api(book_sim))
    topics.source.produce([event(1, event_id="plain")])
    ledger.wait_row("plain", state="accepted")
    for name, force in (("bool", True), ("word", "yes"), ("number", 1)):
        topics.source.produce([event(1, event_id=name, force=force)])
        row = ledger.wait_row(name, state="accepted")
        assert (row["validation"]["cost"], row["validation"]["cached"]) == (PRICE_USD, False), name
    topics.source.produce([event(1, event_id="not", force=False)])
    ledger.wait_row("not", state="accepted")
    asked = [json.loads(line["body"]) for line in book_sim.lookups()]
    assert [body.get("force", False) for body in asked] == [False, True, True, True]
    assert all(body["phone"] == phone(1) and set(body) <= {"phone", "force"} for body in asked)
    assert all(body["use_validation"] is False and body.get("force", False) is False for body in bodies(book_sim)[phone(1)])
    topics.source.produce([event(2, event_id=f"inline-{force}", list_number=OTHER_LIST, force=force)
                           for force in ("true", 0)], partition=0)
    ledger.wait_states(accepted=7)
    assert [body.get("force", False) for body in bodies(book_sim)[phone(2)]] == [True, False]
    assert book_sim.stats()["lookups_paid"] == 5


def test_inline_records_what_the_upsert_found_out(topics, ledger, workers, sim):
    """Inline, the contact is created whatever the disposition, and the reply's validation is recorded with its cost;
    the account's own refusal (not_sendable) is a death by the API's answer; a gated event profits from what is
    known."""
    workers(validation={"mode": "inline", "lists": {OTHER_LIST: "gate"}})
    numbers = [1, LANDLINE, DO_NOT_CALL, NOT_IN_USE]
    topics.source.produce([event(number) for number in [*numbers, REJECTED_VOIP]])
    ledger.wait_states(accepted=4, dead=1)
    row = ledger.row(f"e-{REJECTED_VOIP}")
    assert (row["code"], row["http_status"], row["error_class"]) == ("not_sendable", 400, "rejected")
    for number in numbers:
        row = ledger.row(f"e-{number}")
        assert row["validation"]["disposition"] == DISPOSITIONS[number] and row["contact_id"]
        assert (row["validation"]["cost"], row["validation"]["cached"]) == (PRICE_USD, False)
    assert ledger.row(f"e-{DO_NOT_CALL}")["validation"]["on_dnc"] is True
    topics.source.produce([event(1, event_id="again"), event(LANDLINE, event_id="gated", list_number=OTHER_LIST)])
    row = ledger.wait_row("again", state="accepted")
    assert (row["validation"]["cost"], row["validation"]["cached"]) == (0, True)
    assert ledger.wait_row("gated", state="dead")["code"] == "validation_refused"
    assert sim.lookups() == []


# --- while it cannot be had ---

@pytest.mark.parametrize("choice", ["park", "without_validation", "dead"])
def test_the_account_cannot_pay_in_the_middle(topics, ledger, workers, sim, choice):
    """402 of the lookup: what is not gated flows, nobody is called in vain for each event, and nobody reaches a list
    unseen: the events wait (park), go without with a warning, or are dead, as validation.on_billing_error says."""
    worker = workers(validation={**GATED_LIST_ONLY, "on_billing_error": choice}, retry=QUICK)
    topics.source.produce([event(number) for number in range(5)])
    ledger.wait_states(accepted=5)
    sim.billing("no_payment_method")
    asked, gated = len(sim.lookups()), range(10, 30)
    topics.source.produce([event(10), *(event(100 + number, list_number=OTHER_LIST) for number in range(20))])
    wait_until(lambda: ledger.row("e-10") and ledger.row("e-10")["state"] != "claimed", 20, "the first one's fate")
    topics.source.produce([event(number) for number in gated[1:]])
    final = {"park": {"accepted": 25, "parked": 20}, "without_validation": {"accepted": 45},
             "dead": {"accepted": 25, "dead": 20}}[choice]
    ledger.wait_states(**final)
    refused = sim.lookups()[asked:]
    assert len(refused) == (20 if choice == "dead" else 1), "one is enough to know it"
    assert worker.is_ready()
    rows = [ledger.row(f"e-{number}") for number in gated]
    if choice == "without_validation":
        assert all(row["validation"] is None and row["request"]["use_validation"] is False for row in rows)
        assert all(set(warning_texts(ledger, row["event_id"])) == {"validation_skipped"} for row in rows)
        assert worker.status()["counters"]["validation_skipped"] == 20
        return
    assert {(row["code"], row["http_status"], row["error_class"]) for row in rows} == {("no_payment_method", 402, "billing")}
    assert not any(calls(sim, phone=phone(number)) for number in gated)
    if choice == "dead":
        letters(topics.dead_letter, 20)
        return
    gate = {entry["route"]: entry for entry in worker.status()["gates"]}["validate"]
    assert not gate["open"] and "billing" in gate["why"]
    sim.billing("")
    worker.restart()  # its gate knows nothing of the unpaid bill
    make_due(ledger)
    ledger.wait_states(accepted=45)
    assert topics.dead_letter.consume() == []
    assert all(row["validation"]["disposition"] == "ok" for row in ledger.rows("list_number = %s", (LIST,)))


def test_a_phone_that_the_provider_cannot_tell(topics, ledger, workers, sim):
    """503 for one phone only: that one waits in the ledger and goes when it can be told, the others are looked up and
    accepted meanwhile, and the route stays open."""
    worker = workers(validation=GATE, retry=QUICK)
    topics.source.produce([event(PROVIDER_AWAY), *(event(number) for number in range(20))])
    ledger.wait_states(accepted=20, parked=1)
    row = ledger.row(f"e-{PROVIDER_AWAY}")
    assert (row["code"], row["http_status"], row["attempts"]) == ("provider_error", 503, 2)
    assert [entry["route"] for entry in ledger.attempts(row["event_id"])] == ["validate", "validate"]
    assert {entry["route"]: entry for entry in worker.status()["gates"]}["validate"]["open"] and worker.is_ready()
    assert not calls(sim, phone=phone(PROVIDER_AWAY))
    sim.phone(phone(PROVIDER_AWAY), provider_error=False)
    make_due(ledger)
    row = ledger.wait_row(f"e-{PROVIDER_AWAY}", state="accepted")
    assert row["validation"]["disposition"] == "ok" and row["attempts"] == 3


TROUBLES = {
    "the provider is away (503)": lambda validator: validator.fault(answer(503, "provider_error"), op="validate"),
    "the rate is limited (429)": lambda validator: validator.fault(
        answer(429, "rate_limited", headers={"Retry-After": "1"}), op="validate"),
    "the key is refused (401)": lambda validator: validator.keys("trk_" + "N" * 32),
    "500": lambda validator: validator.fault(answer(500, "internal_error"), op="validate"),
    "404, a wrong validation_url": lambda validator: validator.fault(answer(404), op="validate"),
    "a web page": lambda validator: validator.fault({"kind": "html_body"}, op="validate"),
    "reset after the request": lambda validator: validator.fault({"kind": "reset", "at": "after_request", "apply": True},
                                                                 op="validate"),
    "nobody listens": ContactsSim.kill,
}


def test_trouble_of_the_validation_host_alone(topics, ledger, workers, sim, tmp_path):
    """Its own host answers 503, 429, 401, 500, 404 or rubbish, resets or is down: whoever does not validate flows as
    usual, the worker stays ready, no gated event dies, none reaches the list unseen, and all of them do when it is
    over."""
    validator = ContactsSim(tmp_path / "validator")
    try:
        worker = workers(validation=GATED_LIST_ONLY, retry=QUICK, contacts_api={"validation_url": validator.validation_url()})
        for turn, (name, begin) in enumerate(TROUBLES.items()):
            gated = [100 * turn + number for number in range(20)]
            plain = [100 * turn + number for number in range(50, 70)]
            topics.source.produce([event(number) for number in gated[:5]])
            wait_until(lambda: len(ledger.rows("event_id = ANY (%s) AND state = 'accepted'",
                                               ([f"e-{number}" for number in gated[:5]],))) == 5, 20,
                       lambda: f"{name}: before it, {ledger.states()}")
            begin(validator)
            topics.source.produce([one for pair in zip(
                (event(number) for number in gated[5:]),
                (event(number, list_number=OTHER_LIST) for number in plain)) for one in pair])
            for number in plain[:15]:
                ledger.wait_row(f"e-{number}", state="accepted", timeout=20)
            assert worker.is_ready(), (name, worker.get("/readyz"))
            waiting = ledger.rows("event_id = ANY (%s)", ([f"e-{number}" for number in gated[5:]],))
            assert {row["state"] for row in waiting} <= {"claimed", "parked"}, name
            assert not any(calls(sim, phone=phone(number)) for number in gated[5:]), name
            validator.fresh()  # which starts it, too

            def over():
                make_due(ledger)
                return len(ledger.rows("event_id = ANY (%s) AND state = 'accepted'",
                                       ([f"e-{number}" for number in gated],))) == 20
            wait_until(over, 30, lambda: f"{name}: after it, {ledger.states()} {worker.status()['gates']}", interval=0.1)
        assert sim.lookups() == [] and calls(validator) == [], "each to its own host"
        assert ledger.rows("state = 'dead'") == []
        rows = ledger.rows("list_number = %s", (LIST,))
        assert all(row["validation"]["disposition"] == "ok" for row in rows)
        assert len(calls(sim)) == len(rows) + 15 * len(TROUBLES), "one upsert each"
        assert_enrolled_once(sim)
        wait_settled(topics.source, topics.group)
    finally:
        validator.close()


def test_killed_between_lookup_and_upsert(topics, ledger, workers, sim):
    """kill -9 after lookups that were paid, answered or not, and before their upserts: the next worker asks again,
    the vendor charges nobody twice, every event is accepted once."""
    limits = {"contacts_api": {"timeout": "1s"}, "limits": {"lease": "2s"}}
    worker = workers(validation=GATE, rate={"upsert": 1}, **limits)
    sim.fault({"kind": "hang", "at": "after_request", "apply": True}, op="validate", phone=phone(0), count=1)
    topics.source.produce([event(number) for number in range(20)])
    wait_until(lambda: len(sim.book("answered", op="validate")) >= 19 and sim.lookups(phone=phone(0)), 20, "the lookups")
    worker.kill()
    done = len(sim.effects()) - sim.stats()["lookups_paid"]
    assert done < 10 and sim.stats()["lookups_paid"] == 20
    worker.reconfigure(rate={"upsert": 0})
    worker.start()
    ledger.wait_states(accepted=20)
    assert sim.stats()["lookups_paid"] == 20
    assert all(row["validation"]["disposition"] == "ok" for row in ledger.rows())
    assert_enrolled_once(sim)
    assert sim.stats()["list_contacts"] == 20
    wait_settled(topics.source, topics.group)
