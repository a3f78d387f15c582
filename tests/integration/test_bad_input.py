"""Bad input: every way to be no signup ends as a dead row that a marketer understands and a complete dead letter."""
import datetime
import json
import re

import pytest

from signup_harness import wait_until
from signups import (LIST, calls, dump, event, letters, phone, text_headers, wait_letters_marked, wait_settled)

pytestmark = pytest.mark.sanitized

LOCAL_HEADERS = {"signup.event_id", "signup.error.code", "signup.error.message", "signup.error.class", "signup.attempts",
                 "signup.source", "signup.failed_at"}
API_HEADERS = LOCAL_HEADERS | {"signup.error.status"}
TEN_DIGITS = re.compile(r"\d[\d ().-]{8,}\d")

# What lies on the topic, and the code that it must die of. `{id}` in a text becomes the case's own event id.
BAD = [
    ("a tombstone", None, "empty_event"),
    ("no bytes", b"", "empty_event"),
    ("blanks", b" \t\r\n ", "empty_event"),
    ("a byte order mark alone", b"\xef\xbb\xbf", "empty_event"),
    ("half an object", b'{"phone_number": "+13122000000"', "malformed_json"),
    ("no JSON", b"phone=3122000000", "malformed_json"),
    ("a key twice", b'{"phone_number": "+13122000000", "phone_number": "+13122000001"}', "malformed_json"),
    ("a key twice, once escaped", b'{"url": "x", "\\u0075rl": "y"}', "malformed_json"),
    ("a NUL", b'{"phone_number": "+1312\\u00002000000"}', "malformed_json"),
    ("invalid UTF-8", b'{"phone_number": "\xff\xfe"}', "malformed_json"),
    ("a lone surrogate", b'{"url": "\\ud800"}', "malformed_json"),
    ("an integer beyond 64 bits", b'{"phone_number": 99999999999999999999}', "malformed_json"),
    ("something behind the object", b'{"phone_number": "+13122000000"} {}', "malformed_json"),
    ("too deep", b"[" * 3000 + b"]" * 3000, "malformed_json"),
    ("a list", b'[{"phone_number": "+13122000000"}]', "not_an_object"),
    ("a text", b'"+13122000000"', "not_an_object"),
    ("null", b"null", "not_an_object"),
    ("a number", b"3122000000", "not_an_object"),
    ("no phone", {"phone_number": None}, "missing_phone_number"),
    ("a phone that is null", b'{"event_id": "{id}", "phone_number": null, "list_number": "+18335550100"}',
     "missing_phone_number"),
    ("a phone of blanks", {"phone_number": "  "}, "missing_phone_number"),
    ("seven digits", {"phone_number": "555-0100"}, "invalid_phone"),
    ("letters", {"phone_number": "call me"}, "invalid_phone"),
    ("a phone that is an object", {"phone_number": {"number": "+13122000000"}}, "invalid_phone"),
    ("a phone that is negative", {"phone_number": -3122000000}, "invalid_phone"),
    ("a phone that is true", {"phone_number": True}, "invalid_phone"),
    ("no list", {"list_number": None}, "missing_list_number"),
    ("a list that is no number", {"list_number": "newsletter"}, "invalid_list_number"),
    ("a list that is a list", {"list_number": ["+18335550100"]}, "invalid_list_number"),
    ("an id that is a number", {"event_id": 17}, "invalid_event_id"),
    ("an id that is empty", {"event_id": ""}, "invalid_event_id"),
    ("an id of 201 bytes", {"event_id": "x" * 201}, "invalid_event_id"),
    ("an id of 101 characters, 202 bytes", {"event_id": "é" * 101}, "invalid_event_id"),
    ("an id that looks like a position", {"event_id": "{topic}:0:17"}, "invalid_event_id"),
    *((f"{flag} that means nothing", {flag: "perhaps"}, "invalid_field")
      for flag in ("use_journeys", "skip_journey_if_exists", "override_custom_fields", "use_validation", "force")),
    ("a flag that is 2", {"use_journeys": 2}, "invalid_field"),
    ("a flag that is an object", {"force": {}}, "invalid_field"),
    ("a flag that is 1.0", b'{"event_id": "{id}", "phone_number": "+13122000000", "list_number": "+18335550100", "force": 1.0}',
     "invalid_field"),
    ("too much for the API", {"custom_fields": {"note": "x" * 4000}}, "payload_too_large"),
    ("bytes, not characters, count", {"custom_fields": {"note": "é" * 2000}}, "payload_too_large"),
]

# The status, code and message that the API answers with.
REFUSALS = [(400, "list_not_found", "No such list"), (400, "not_sendable", "The carrier validation failed"),
            (400, "invalid_phone", "Phone +13122000007 is not valid"), (400, None, "Bad request"),
            (404, "not_found", "No such thing"), (413, "payload_too_large", "Too large"),
            (422, "unprocessable", "Semantics"), (418, "teapot", "Short and stout")]


def assert_letter(letter, value, key, headers, wanted):
    """The original untouched, and exactly the headers of the contract with what they say in `wanted`."""
    assert (letter.value, letter.key) == (value, key)
    ours = [(name, content) for name, content in letter.headers if name.startswith("signup.")]
    assert [pair for pair in letter.headers if not pair[0].startswith("signup.")] == headers
    said = {name: content.decode() for name, content in ours}
    assert len(ours) == len(said)
    expected = API_HEADERS if "signup.error.status" in wanted else LOCAL_HEADERS
    assert set(said) == expected
    for name, content in wanted.items():
        assert said[name] == content, (name, said[name], content)
    at = datetime.datetime.fromisoformat(said["signup.failed_at"].replace("Z", "+00:00"))
    assert abs((datetime.datetime.now(datetime.timezone.utc) - at).total_seconds()) < 300
    return said


def assert_understandable(message, code):
    """A sentence for people: with words, a remedy's length, no phone number in it."""
    assert message and len(message) >= 30 and " " in message and message != code, message
    assert not TEN_DIGITS.search(message), f"a phone number in {message!r}"


def as_bytes(number, what, topic):
    if isinstance(what, bytes):
        return what.replace(b"{id}", f"bad-{number}".encode())
    made = event(number, event_id=f"bad-{number}")
    made.update(what)
    made = {name: value for name, value in made.items() if value is not None}
    if "{topic}" in str(made.get("event_id")):
        made["event_id"] = made["event_id"].replace("{topic}", topic)
    return json.dumps(made, ensure_ascii=False).encode()


def test_every_local_death(topics, ledger, worker, sim):
    """Each rule of the event's contract: a dead row with its code, attempts 0 and a message; a dead letter with the
    original key, value and headers and exactly the contract's headers, class rejected, no status. Good events before
    and behind each bad one are accepted."""
    headers = [("trace", b"\x00\xff"), ("empty", b""), ("nothing", None), ("trace", b"again")]
    names = {}
    for number, (name, what, code) in enumerate(BAD):
        value = None if what is None else as_bytes(number, what, topics.source.name)
        good = [event(1000 + 2 * number + side) for side in (0, 1)]
        [_, position, _] = topics.source.produce([good[0], value, good[1]], partition=number % 4, headers=headers)
        own = value is not None and value.startswith(b"{") and b'"bad-%d"' % number in value and code != "malformed_json"
        at = f"{topics.source.name}:{position[0]}:{position[1]}"
        names[f"bad-{number}" if own else at] = (name, value, code, at)
    ledger.wait_states(accepted=2 * len(BAD), dead=len(BAD))
    wait_settled(topics.source, topics.group)

    found = letters(topics.dead_letter, len(BAD))
    assert sorted(found) == sorted(names)
    for event_id, (name, value, code, at) in names.items():
        row = ledger.row(event_id)
        assert (row["state"], row["code"], row["attempts"], row["http_status"]) == ("dead", code, 0, None), name
        assert_understandable(row["error"], code)
        assert row["request"] is None and row["finished_at"] is not None, name
        payload = None if row["payload"] is None else bytes(row["payload"])
        assert payload == value, name
        said = assert_letter(found[event_id], value, None, headers, {
            "signup.event_id": event_id, "signup.error.code": code, "signup.error.class": "rejected",
            "signup.attempts": "0", "signup.source": at})
        assert said["signup.error.message"] == row["error"], name
        wait_until(lambda: ledger.row(event_id)["dead_letter_published_at"], 10, f"the mark of {name}")
    flags = [ledger.row(event_id)["error"] for event_id, (_, _, code, _) in names.items() if code == "invalid_field"]
    assert all(re.match(r"(use_journeys|skip_journey_if_exists|override_custom_fields|use_validation|force) ", text)
               for text in flags), flags
    assert len(calls(sim)) == 2 * len(BAD)
    view = ledger.query("SELECT code, source, payload_text FROM {schema}.dead_letter ORDER BY event_id")
    assert len(view) == len(BAD) and all(row["code"] and row["source"] for row in view)


def test_refusals_of_the_api(topics, ledger, worker, sim):
    """Every 4xx that speaks of the event makes it dead at once, with the API's status, code and message (phones
    masked), attempts 1, the request that was sent, an attempt row, and a letter with the status."""
    for number, (status, code, message) in enumerate(REFUSALS):
        sim.fault({"kind": "answer", "status": status, "code": code or "", "error": message, "message": message,
                   **({} if code else {"body": json.dumps({"error": message})}), "apply": False},
                  op="upsert", phone=phone(number))
    produced = topics.source.produce([event(number) for number in range(len(REFUSALS))] + [event(99)],
                                     headers=[("h", b"v")])
    ledger.wait_states(accepted=1, dead=len(REFUSALS))
    found = letters(topics.dead_letter, len(REFUSALS))
    for number, (status, code, message) in enumerate(REFUSALS):
        row = ledger.row(f"e-{number}")
        assert (row["state"], row["http_status"], row["attempts"]) == ("dead", status, 1), row
        assert code is None or row["code"] == code
        assert row["error"] and not TEN_DIGITS.search(row["error"]), row["error"]
        assert row["request"]["phone_number"] == phone(number)
        [attempt] = ledger.attempts(f"e-{number}")
        assert (attempt["attempt"], attempt["route"], attempt["http_status"], attempt["verdict"]) == (
            1, "upsert", status, "dead")
        partition, offset = produced[number]
        said = assert_letter(found[f"e-{number}"], bytes(row["payload"]), phone(number).encode(), [("h", b"v")], {
            "signup.error.status": str(status), "signup.error.class": "rejected", "signup.attempts": "1",
            "signup.source": f"{topics.source.name}:{partition}:{offset}", "signup.error.code": row["code"] or ""})
        assert said["signup.error.message"] == row["error"]
        assert len(calls(sim, phone=phone(number))) == 1


def test_headers_by_the_thousand_and_forged_ones(topics, ledger, worker):
    """1,000 headers come through untouched and in order; incoming headers called signup.* are replaced; an empty key
    stays empty, binary keys stay what they are."""
    headers = [(f"h{number % 100}", b"%d" % number) for number in range(1000)]
    forged = [("signup.event_id", b"forged"), ("signup.error.status", b"500"), ("signup.made_up", b"x"), ("signupX", b"y")]
    topics.source.produce([event(1, phone_number="1")], headers=headers)
    topics.source.produce([event(2, phone_number="2")], headers=forged, key_field="event_id")
    topics.source.produce([event(3, phone_number="3", nobody="")], key_field="nobody")
    topics.source.produce([event(4)], headers=headers)
    ledger.wait_states(accepted=1, dead=3)
    found = letters(topics.dead_letter, 3)
    assert [pair for pair in found["e-1"].headers if not pair[0].startswith("signup.")] == headers
    said = text_headers(found["e-2"])
    assert said["signupX"] == "y" and said["signup.event_id"] == "e-2"
    assert set(said) == LOCAL_HEADERS | {"signupX"}
    assert (found["e-2"].key, found["e-3"].key) == (b"e-2", b"")


def padded(number, size):
    """An event of exactly `size` bytes, padded where nothing of it is sent."""
    made = json.dumps(event(number, padding=""))
    return json.dumps(event(number, padding="x" * (size - len(made)))).encode()


def test_sizes_at_their_limits(topics, ledger, workers, book_sim, api):
    """262,144 bytes of value are read, one more is event_too_large; a request of 4,000 bytes is sent, one of 4,001 is
    payload_too_large, counted as sent. Neighbours of a 1 MB value are untouched."""
    workers(**api(book_sim))
    topics.source.produce([padded(1, 262144), padded(2, 262145), b"[" + b"{}," * 300000 + b"{}]", event(3)])
    ledger.wait_states(accepted=2, dead=2)
    assert ledger.row("e-1")["state"] == ledger.row("e-3")["state"] == "accepted"
    assert {code for _, code in ledger.codes() if code} == {"event_too_large"}
    sizes = {line["phone"]: line["body_bytes"] for line in calls(book_sim)}

    note = 4000 - sizes[phone(3)] - len(',"custom_fields":{"note":""}')
    topics.source.produce([event(4, custom_fields={"note": "x" * note}), event(5, custom_fields={"note": "x" * (note + 1)}),
                           event(6, custom_fields={"note": "é" * (note // 2) + "x" * (note % 2)})])
    ledger.wait_states(accepted=4, dead=3)
    sizes = {line["phone"]: line["body_bytes"] for line in calls(book_sim)}
    assert (sizes[phone(4)], sizes[phone(6)]) == (4000, 4000)
    assert ledger.row("e-5")["code"] == "payload_too_large" and phone(5) not in sizes
    found = letters(topics.dead_letter, 3)
    assert sorted(len(letter.value) for letter in found.values())[-1] == 900004
    assert all(row["payload"] is not None for row in ledger.rows("state = 'dead'"))


def test_dead_letter_topic_comes_later(broker, topics, ledger, workers, sim):
    """Without a dead-letter topic the rows stay due and the source is not stalled; the letters follow once it is
    there, each once, and the rows are marked."""
    late = topics.source.name + "-late.dlq"
    worker = workers(kafka={"dead_letter_topic": late})
    topics.source.produce([event(number, phone_number="7") for number in range(5)])
    topics.source.produce([event(number) for number in range(100, 150)])
    ledger.wait_states(accepted=50, dead=5)
    wait_settled(topics.source, topics.group)
    worker.wait_log("the dead-letter topic does not exist: create it")
    assert ledger.rows("dead_letter_published_at IS NOT NULL") == []
    assert worker.is_ready(), worker.get("/readyz")

    topic = broker.create_topic(late, 1)
    found = letters(topic, 5, timeout=60)
    assert sorted(found) == [f"e-{number}" for number in range(5)]
    wait_letters_marked(ledger)
    topics.source.produce([event(6, phone_number="7")])
    letters(topic, 6)


def test_letters_that_a_crash_left_behind(topics, ledger, workers, sim):
    """A row that is dead and unpublished, as kill -9 leaves it, is published by the next worker."""
    worker = workers()
    topics.source.produce([event(1, phone_number="1")], headers=[("h", b"v")])
    letters(topics.dead_letter, 1)
    wait_until(lambda: ledger.row("e-1")["dead_letter_published_at"], 10, "the mark")
    worker.kill()
    ledger.query("UPDATE {schema}.event SET dead_letter_published_at = NULL")
    before = dump(ledger)["event"][0]
    worker.start()
    wait_until(lambda: len(topics.dead_letter.consume()) == 2, 60, "the second copy", interval=0.2)
    first, second = topics.dead_letter.consume()
    assert first[3:] == second[3:], "a second copy says the same"
    row = wait_until(lambda: (found := dump(ledger)["event"][0])["dead_letter_published_at"] and found, 10, "the mark")
    changed = {name for name in row if row[name] != before[name]}
    assert changed <= {"dead_letter_published_at", "lease_until", "outbox_token"}, changed


def test_a_list_number_is_not_a_phone_leak(topics, ledger, worker):
    """What people read of a dead event (log, message) never holds a whole number, also where the API repeats it."""
    topics.source.produce([event(1, list_number="12"), event(2, custom_fields={phone(3): ["nested"]})])
    ledger.wait_states(accepted=1, dead=1)
    messages = [row["message"] for row in ledger.query("SELECT message FROM {schema}.warning")]
    messages += [row["error"] for row in ledger.rows("error IS NOT NULL")]
    assert messages and not any(TEN_DIGITS.search(message) for message in messages), messages
    worker.wait_log("event_id=e-1 ")
    assert phone(1)[1:] not in worker.log_text() and LIST[1:] not in worker.log_text()
