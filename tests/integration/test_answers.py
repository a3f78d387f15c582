"""What the API may answer instead of a success, and how every event gets through all the same."""
import json
import time

from signup_harness import ContactsSim, wait_until
from signups import (LIST, assert_enrolled_once, assert_never_two_at_once, bodies, calls, event, phone, wait_settled)

QUICK = {"inline_base": "20ms", "inline_cap": "200ms", "retry_after_cap": "500ms"}


def answer(status, code="", **more):
    return {"kind": "answer", "status": status, "code": code, "error": "for the test", "apply": False, **more}


# Name, what the simulator does, whether it counts as an attempt, whether the call may have taken effect.
TROUBLES = [
    ("500", answer(500, "internal_error"), True, True),
    ("500 that took effect", answer(500, "internal_error", apply=True), True, True),
    ("502 of a proxy", answer(502, body="<html>Bad Gateway</html>"), True, True),
    ("503 of the API", answer(503, "provider_error"), True, False),
    ("503 of a proxy", answer(503, body="<html>Service Unavailable</html>"), True, True),
    ("504", answer(504, body=""), True, True),
    ("408", answer(408), True, True),
    ("425", answer(425), True, True),
    ("599", answer(599), True, True),
    ("status 999", answer(999), True, True),
    ("429", answer(429, "rate_limited"), False, False),
    ("429, Retry-After a second, capped", answer(429, "rate_limited", headers={"Retry-After": "1"}), False, False),
    ("429, Retry-After 1e18 seconds", answer(429, headers={"Retry-After": "1000000000000000000"}), False, False),
    ("429, Retry-After in the past", answer(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), False, False),
    ("429, Retry-After that nobody can read", answer(429, headers={"Retry-After": "soon"}), False, False),
    ("200 with a web page", {"kind": "html_body"}, True, True),
    ("200 with nothing", {"kind": "empty_body"}, True, True),
    ("200 that says no success", {"kind": "success_false"}, True, True),
    ("half of a body", {"kind": "truncated_body"}, True, True),
    ("a chunk of no length", {"kind": "bad_chunk"}, True, True),
    ("no HTTP at all", {"kind": "garbage"}, True, True),
    ("a header with NUL", {"kind": "nul_header"}, True, True),
    ("two megabytes of headers", {"kind": "big_headers"}, True, True),
    ("a hundred megabytes of body", {"kind": "huge_body", "content_length": False}, True, True),
    ("bytes that are not gzip", {"kind": "bad_gzip"}, True, True),
    ("reset after the request", {"kind": "reset", "at": "after_request", "apply": True}, True, True),
    ("reset within the body", {"kind": "reset", "at": "in_body"}, True, True),
    ("closed after the request", {"kind": "close", "at": "after_request", "apply": True}, True, True),
    ("closed within the headers", {"kind": "close", "at": "in_headers"}, True, True),
    ("no answer", {"kind": "hang", "at": "after_request", "apply": True}, True, True),
    ("an answer byte by byte", {"kind": "trickle", "at": "in_body", "step_bytes": 1, "step_ms": 100}, True, True),
    ("100 Continue without end", {"kind": "continue", "step_ms": 50}, True, True),
]


def test_every_trouble_is_retried_until_it_is_good(topics, ledger, workers, book_sim, api):
    """Two bad answers of each kind, then the true one: accepted after exactly three calls; `attempts` counts what was
    answered for the event's own sake; where a call may have taken effect every later one carries
    skip_journey_if_exists true and the ledger says so; nobody is enrolled twice, nothing is dead."""
    worker = workers(retry=QUICK, **api(book_sim))
    worker.stop()
    worker.reconfigure(contacts_api={"timeout": "700ms", "connect_timeout": "500ms"})
    worker.start()
    book_sim.faults([{"op": "upsert", "phone": phone(number), "count": 2, "action": action}
                     for number, (_, action, _, _) in enumerate(TROUBLES)])
    for number, (name, _, counts, maybe_sent) in enumerate(TROUBLES):
        topics.source.produce([event(number, skip_journey_if_exists=False)])
        row = ledger.wait_row(f"e-{number}", state="accepted", timeout=20)
        sent = bodies(book_sim)[phone(number)]
        assert len(sent) == 3, name
        assert row["attempts"] == (3 if counts else 1), (name, row["attempts"])
        assert row["maybe_sent"] == maybe_sent, name
        assert [body["skip_journey_if_exists"] for body in sent] == [False, maybe_sent, maybe_sent], name
        warned = ("worker", "journey_resend_guarded") in ledger.warnings(f"e-{number}")
        assert warned == maybe_sent, name
        tries = ledger.attempts(f"e-{number}")
        read = [("read", "accepted")] if maybe_sent else []  # what became of the first one, before the resend
        assert [(entry["route"], entry["verdict"]) for entry in tries] == [
            ("upsert", "retry"), *read, ("upsert", "retry"), ("upsert", "accepted")], name
        assert [entry["attempt"] for entry in tries] == list(range(1, len(tries) + 1)), name
        assert row["request"] == sent[-1] and row["payload"] is None and row["http_status"] in (200, 201), name
    wait_settled(topics.source, topics.group)
    assert ledger.states() == {"accepted": len(TROUBLES)}
    assert topics.dead_letter.consume() == []
    assert_enrolled_once(book_sim)
    assert_never_two_at_once(book_sim)
    assert worker.rss_bytes() < 128 << 20


def test_retry_after_is_obeyed_by_the_whole_route(topics, ledger, workers, sim):
    """After a 429 nobody is called before Retry-After is over, other contacts neither."""
    workers()
    sim.fault(answer(429, "rate_limited", headers={"Retry-After": "2"}), op="upsert", count=1)
    topics.source.produce([event(0)])
    wait_until(lambda: calls(sim), 10, "the first call")
    topics.source.produce([event(number) for number in range(1, 20)])
    ledger.wait_states(accepted=20)
    first, *others = [line["at_us"] for line in calls(sim)]
    assert min(others) - first >= 2_000_000, "called before its time"
    assert ledger.row("e-0")["attempts"] == 1


def test_order_of_a_contact_while_others_flow(topics, ledger, workers, book_sim, api):
    """While the first event of a contact fails again and again the later ones of the contact wait, although they lie
    on the same partition as others that flow; then they follow in their order."""
    worker = workers(retry={"inline_base": "50ms", "inline_cap": "400ms", "inline_attempts": 20}, **api(book_sim))
    book_sim.fault(answer(500, "internal_error"), op="upsert", phone=phone(0), count=8)
    stuck = [event(0, event_id=f"stuck-{seq}", custom_fields={"seq": seq}) for seq in range(20)]
    free = [event(number) for number in range(1, 101)]
    mixed = [one for pair in zip(free[0::5], free[1::5], free[2::5], free[3::5], free[4::5], stuck) for one in pair]
    topics.source.produce(mixed, partition=0)
    ledger.wait_states(accepted=100, claimed=1, timeout=10)
    assert len(calls(book_sim, phone=phone(0))) < 9, "the first one must still be failing"
    assert worker.status()["partitions"], "it answers meanwhile"
    ledger.wait_states(accepted=120)
    assert [body["custom_fields"]["seq"] for body in bodies(book_sim)[phone(0)]] == [0] * 8 + list(range(20))
    assert_never_two_at_once(book_sim)
    wait_settled(topics.source, topics.group)


def test_no_hidden_resend_on_a_dying_connection(topics, ledger, workers, book_sim, api):
    """A kept connection that dies after the request and before any answer: the HTTP library must not send the request
    again by itself. Every POST in the book is a try that the ledger knows, and the second is guarded."""
    workers(retry=QUICK, **api(book_sim))
    topics.source.produce([event(1000 + number) for number in range(20)], partition=0)
    ledger.wait_states(accepted=20)
    for number in range(10):
        kind = ("close", "reset")[number % 2]
        book_sim.fault({"kind": kind, "at": "after_request", "apply": True}, op="upsert", phone=phone(number), count=1,
                       reused=True)
        topics.source.produce([event(number, skip_journey_if_exists=False)])
        row = ledger.wait_row(f"e-{number}", state="accepted")
        sent = bodies(book_sim)[phone(number)]
        assert len(sent) == row["attempts"] == 2
        assert [entry["route"] for entry in ledger.attempts(f"e-{number}")] == ["upsert", "read", "upsert"]
        assert [body["skip_journey_if_exists"] for body in sent] == [False, True]
    assert_enrolled_once(book_sim)


def test_late_responses_are_nobody_elses(topics, ledger, workers, sim):
    """Answers that nobody asked for, late ones, idle 408s and connections closed while idle never become the answer of
    another event: each row has the ids that the API gave to its own contact."""
    workers(contacts_api={"max_in_flight": 1}, retry=QUICK)
    for number in range(30):
        kind = ("late_response", "idle_408", "idle_close")[number % 3]
        sim.fault({"kind": kind, "late_ms": 5}, op="upsert", phone=phone(number), count=1)
    topics.source.produce([event(number) for number in range(15)])
    ledger.wait_states(accepted=15)
    for number in range(15, 30):  # one after the other: the connection is idle between them
        topics.source.produce([event(number)])
        ledger.wait_row(f"e-{number}", state="accepted")
    rows = ledger.rows()
    assert len({row["contact_id"] for row in rows}) == len({row["list_contact_id"] for row in rows}) == 30
    assert all(row["is_new_contact"] and row["http_status"] == 201 for row in rows if not row["maybe_sent"])
    assert len([line for line in sim.effects() if line["is_new_contact"]]) == 30
    assert_enrolled_once(sim)


def gaps_s(lines):
    times = [line["at_us"] for line in lines]
    return [(b - a) / 1e6 for a, b in zip(times, times[1:])]


def test_key_is_rotated_without_a_restart(topics, ledger, workers, sim, tmp_path):
    """While the key is refused nothing is dead and no event spends an attempt; /readyz says why; the API is probed at
    most once a second; the new key in the file is taken up without a restart, within 5 s, in order."""
    new_key = "trk_" + "Z" * 32
    worker = workers()
    topics.source.produce([event(999)])
    ledger.wait_states(accepted=1)
    sim.keys(new_key)
    topics.source.produce([event(number % 10, event_id=f"e-{number}", custom_fields={"seq": number})
                           for number in range(60)], partition=0)
    worker.wait_not_ready(reason="contacts_api: unauthorized")
    held_from = len(calls(sim))
    wait_until(lambda: len(calls(sim)) >= held_from + 3, 20, "probes go on")
    assert min(gaps_s(calls(sim)[held_from:])) >= 0.75, gaps_s(calls(sim)[held_from:])
    assert ledger.rows("state = 'dead'") == [] and ledger.states()["accepted"] == 1
    assert "level=error" in worker.log_text() or "level=warn" in worker.log_text()

    replacement = tmp_path / "next-key"
    replacement.write_text(new_key + "\n")
    before = len(calls(sim))
    replacement.rename(tmp_path / "api-key")
    since = time.monotonic()
    worker.wait_ready(timeout=12)
    assert time.monotonic() - since <= 5.5, "the probe after the rotation came late"
    ledger.wait_states(accepted=61)
    assert {row["attempts"] for row in ledger.rows()} == {1}
    wait_settled(topics.source, topics.group)
    assert len(calls(sim)) - before <= 61 + 2
    for number in range(10):
        assert sim.contact(phone(number), LIST)["seqs"] == list(range(number, 60, 10))
    assert topics.dead_letter.consume() == []
    assert new_key not in worker.log_text()


def test_forbidden_and_redirected_hold_the_route(topics, ledger, workers, sim):
    """403 (account suspended, without a code) and redirects hold the route: nothing is dead, no attempt is spent, no
    redirect is followed, and it goes on by itself when the answer changes."""
    worker = workers()
    for number, (reason, action) in enumerate([
            ("unauthorized", answer(403, body='{"error": "Account is suspended"}')),
            ("misrouted", {"kind": "redirect", "status": 301, "location": "http://127.0.0.1:9/else"}),
            ("misrouted", {"kind": "redirect", "status": 307, "location": "/api/v2/other"})]):
        sim.fault(action, op="upsert", count=2)
        topics.source.produce([event(number)])
        text = worker.wait_not_ready(reason=f"contacts_api: {reason}")
        assert "ready" in text
        row = ledger.wait_row(f"e-{number}", state="accepted", timeout=20)
        assert row["attempts"] == 1 and not row["maybe_sent"]
        worker.wait_ready()
        assert len(calls(sim, phone=phone(number))) == 3
    assert all(line["path"] == "/api/v2/contacts" for line in sim.book("received"))
    assert len(ledger.attempts("e-0")) == 3
    assert topics.dead_letter.consume() == []


def test_policy_of_the_configuration(topics, ledger, workers, sim):
    """A status or a code can be given another verdict; a code beats a status."""
    workers(policy={"402": "dead", "not_sendable": "accepted", "list_not_found": "retry", "400": "dead"}, retry=QUICK)
    sim.fault(answer(402, "payment_failed"), op="upsert", phone=phone(1))
    sim.fault(answer(400, "not_sendable"), op="upsert", phone=phone(2))
    sim.fault(answer(400, "list_not_found"), op="upsert", phone=phone(3), count=3)
    topics.source.produce([event(number) for number in range(1, 5)])
    ledger.wait_states(accepted=3, dead=1)
    rows = {number: ledger.row(f"e-{number}") for number in range(1, 5)}
    assert (rows[1]["code"], rows[1]["http_status"], rows[1]["attempts"]) == ("payment_failed", 402, 1)
    assert (rows[2]["state"], rows[2]["http_status"], rows[2]["contact_id"]) == ("accepted", 400, None)
    assert (rows[3]["state"], rows[3]["attempts"]) == ("accepted", 4)


def test_tls_is_verified_and_proxies_are_ignored(topics, ledger, workers, tmp_path):
    """Over TLS with the CA of the configuration it works, whatever proxy the environment names; without that CA it is
    not called, nothing is dead, and /readyz or the ledger says so."""
    with_tls = ContactsSim(tmp_path / "tls", tls=True)
    try:
        proxies = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "ALL_PROXY", "HTTPS_PROXY")}
        urls = {"base_url": with_tls.base_url(tls=True), "validation_url": with_tls.validation_url(tls=True)}
        doubting = workers(contacts_api=urls, retry=QUICK)
        topics.source.produce([event(number) for number in range(40)])
        doubting.wait_not_ready(reason="contacts_api: transport: tls")
        assert doubting.stop() == 0
        assert calls(with_tls) == [] and not ledger.states().get("dead")
        workers(contacts_api={**urls, "ca_file": str(with_tls.ca_file)}, environment=proxies)
        ledger.wait_states(accepted=40)
        assert {row["attempts"] for row in ledger.rows()} == {1}
        assert not any(row["maybe_sent"] for row in ledger.rows())
    finally:
        with_tls.close()


def test_outage_of_one_event_opens_no_breaker(topics, ledger, workers, sim):
    """One event's bad luck is its own: forty 500s of one contact leave the route open for the others."""
    worker = workers(retry={"inline_base": "10ms", "inline_cap": "20ms", "inline_attempts": 100, "max_attempts": 100})
    sim.fault(answer(500), op="upsert", phone=phone(0), count=40)
    topics.source.produce([event(0)])
    row = ledger.wait_row("e-0", state="accepted")
    assert row["attempts"] == 41
    assert "fails for everybody" not in worker.log_text()
    assert json.loads(worker.get("/status")[1])["counters"]["retries"] == 40
