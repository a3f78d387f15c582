"""The main job: what lands on a topic becomes a contact in the API and a row in the ledger."""
import datetime
import json

import pytest
from signup_harness import wait_until

from signups import (LIST, OTHER_LIST, SENT_AT, SENT_AT_MS, bodies, calls, dump, event, letters, phone, request,
                     text_headers, wait_letters_marked, wait_settled)

pytestmark = pytest.mark.sanitized

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
DROPPED = ("worker", "field_dropped")
BAD_DATE = ("worker", "signup_date_unusable")
CONSENT = {"text": "I agree to receive recurring marketing texts.", "text_version": "2025-09", "user_agent": "Mozilla/5.0",
           "certificate_url": "https://cert.example.com/1"}

# What the event says beside its identity and contact; what the API must be told beside the usual; the ledger's
# columns; the warnings.
CASES = [
    ("everything that an event can say",
     {"use_journeys": True, "skip_journey_if_exists": False, "override_custom_fields": True,
      "signup_date": "2025-03-15T14:30:00Z", "ip_address": "203.0.113.7", "url": "https://offers.example.com/l/1?a=b",
      "custom_fields": {"first_name": "Ada", "age": 36, "vip": True, "score": 1.5},
      "ad_network_source": "facebook", "ad_network_id": "cmp-1", "consent": CONSENT},
     {"skip_journey_if_exists": False, "override_custom_fields": True, "signup_date": "2025-03-15T14:30:00Z",
      "ip_address": "203.0.113.7", "url": "https://offers.example.com/l/1?a=b",
      "custom_fields": {"first_name": "Ada", "age": 36, "vip": True, "score": 1.5},
      "ad_network_source": "facebook", "ad_network_id": "cmp-1"},
     {"ip_address": "203.0.113.7", "url": "https://offers.example.com/l/1?a=b", "consent": CONSENT,
      "ad_network_source": "facebook", "ad_network_id": "cmp-1", "journeys_enrolled": 1}, []),
    ("nothing but the contact", {}, {}, {"journeys_enrolled": 1, "consent": None, "ip_address": None, "url": None}, []),
    ("no journeys", {"use_journeys": False}, {"use_journeys": False}, {"journeys_enrolled": 0},
     [("api", "journeys_not_used")]),
    ("the alias phone, and usual spellings", {"phone_number": None, "phone": "(312) 200-0003",
                                              "list_number": "1-833-555-0100"}, {}, {}, []),
    ("numbers as JSON integers", {"phone_number": 3122000004, "list_number": 18335550100}, {}, {}, []),
    ("phone_number wins over phone", {"phone": "+14155550000"}, {}, {}, []),
    ("flags as words", {"use_journeys": "YES", "skip_journey_if_exists": "False", "override_custom_fields": 1,
                        "use_validation": "0"},
     {"skip_journey_if_exists": False, "override_custom_fields": True}, {}, []),
    ("force without validation is not sent", {"force": True}, {}, {}, []),
    ("epoch seconds", {"signup_date": 1742049000}, {"signup_date": "2025-03-15T14:30:00Z"}, {}, []),
    ("epoch milliseconds as text", {"signup_date": "1742049000999"}, {"signup_date": "2025-03-15T14:30:00Z"}, {}, []),
    ("an offset", {"signup_date": "2025-03-15T16:30:00.5+02:00"}, {"signup_date": "2025-03-15T14:30:00Z"}, {}, []),
    ("no zone means UTC", {"signup_date": "2025-03-15 14:30"}, {"signup_date": "2025-03-15T14:30:00Z"}, {}, []),
    ("a date alone", {"signup_date": "2025-03-15"}, {"signup_date": "2025-03-15T00:00:00Z"}, {}, []),
    ("a date of the future", {"signup_date": "2199-01-01T00:00:00Z"}, {}, {}, [BAD_DATE]),
    ("a date that nobody can read", {"signup_date": "last tuesday"}, {}, {}, [BAD_DATE]),
    ("an address with brackets and port, a URL with blanks",
     {"ip_address": " [2001:db8::1]:443 ", "url": " https://example.com/ "},
     {"ip_address": "2001:db8::1", "url": "https://example.com/"},
     {"ip_address": "2001:db8::1", "url": "https://example.com/"}, []),
    ("what the API would not take is dropped, the signup goes",
     {"ip_address": "localhost", "url": "/signup", "custom_fields": {"kept": "x", "list": [1], "map": {}, "none": None},
      "ad_network_id": 4711, "ad_network_source": ["facebook"], "consent": "yes"},
     {"custom_fields": {"kept": "x"}, "ad_network_id": "4711"},
     {"ip_address": None, "url": None, "ad_network_id": "4711", "ad_network_source": None, "consent": None},
     [DROPPED] * 6),
    ("null is absent, unknown fields are not sent",
     {"signup_date": json.loads("null"), "url": json.loads("null"), "force": json.loads("null"), "colour": "red",
      "Phone_number": "+14155550000"}, {}, {}, []),
    ("validation inside of the upsert", {"use_validation": True, "force": "yes"},
     {"use_validation": True, "force": True}, {}, []),
    ("characters beyond ASCII", {"custom_fields": {"first_name": "Zoë 🎉", "ville": "Москва"}},
     {"custom_fields": {"first_name": "Zoë 🎉", "ville": "Москва"}}, {}, []),
]


def make(number, fields):
    """The event of a case; unlike event() it keeps null where the case says null on purpose."""
    made = {"event_id": f"e-{number}", "phone_number": phone(number), "list_number": LIST, **fields}
    if "phone" in fields and fields.get("phone_number", "") is None:
        del made["phone_number"]
    return made


def test_good_events_become_contacts_exactly_as_normalized(topics, ledger, workers, book_sim, api):
    """Each event reaches the API once, with exactly the canonical body; every column of its row and its warnings are
    right; the group's offsets end at the topic's end; no dead letter appears."""
    worker = workers(**api(book_sim))
    events = [make(number, fields) for number, (_, fields, _, _, _) in enumerate(CASES)]
    positions = topics.source.produce(events, timestamp_ms=SENT_AT_MS)
    ledger.wait_states(accepted=len(CASES))
    wait_settled(topics.source, topics.group)

    sent = bodies(book_sim)
    assert sorted(sent) == sorted(phone(number) for number in range(len(CASES)))
    for number, (name, _, changes, columns, warnings) in enumerate(CASES):
        wanted = request(number, **changes)
        assert sent[phone(number)] == [wanted], name
        row = ledger.row(f"e-{number}")
        partition, offset = positions[number]
        contract = {
            "topic": topics.source.name, "partition": partition, "offset": offset, "state": "accepted",
            "phone_number": phone(number), "list_number": LIST, "attempts": 1, "http_status": 201, "code": None,
            "error": None, "is_new_contact": True, "is_new_list_contact": True, "request": wanted, "payload": None,
            "headers": None, "sources": [], "maybe_sent": False, "replays": 0, "due_at": None, "lease_until": None,
            "dead_letter_published_at": None,
            "signup_date": datetime.datetime.fromisoformat(wanted["signup_date"].replace("Z", "+00:00")), **columns}
        seen = {column: row[column] for column in contract}
        assert seen == contract, name
        assert row["contact_id"] and row["list_contact_id"] and len(bytes(row["payload_digest"])) == 32, name
        assert row["received_at"] <= row["finished_at"], name
        assert sorted(ledger.warnings(f"e-{number}")) == sorted(warnings), name
        assert ledger.attempts(f"e-{number}") == [], name

    validated = [row for row in ledger.rows() if row["validation"] is not None]
    assert [row["request"]["use_validation"] for row in validated] == [True]
    assert validated[0]["validation"]["disposition"] == "ok"
    known = ledger.query("SELECT phone_number, disposition FROM {schema}.phone_validation")
    assert known == [{"phone_number": validated[0]["phone_number"], "disposition": "ok"}]
    assert topics.dead_letter.consume() == []
    assert worker.metric("signup_accepted_total") == len(CASES)
    assert worker.metric("signup_calls_total") == len(CASES)


def test_warnings_name_their_field(topics, ledger, worker, sim):
    """A dropped field's warning says which field it was and why; the API's own words are kept."""
    topics.source.produce([event(1, url="nonsense", custom_fields={"nested": {}}, use_journeys=False)])
    ledger.wait_row("e-1", state="accepted")
    rows = ledger.query("SELECT source, message FROM {schema}.warning WHERE event_id = 'e-1'")
    messages = {(row["source"], row["message"].split(" ")[0]) for row in rows}
    assert messages == {("worker", "url"), ("worker", "custom_fields.nested"), ("api", "List")}
    assert worker.metric("signup_warnings_total") == 3


def test_several_topics_default_list_and_bom(broker, topics, ledger, workers, book_sim, api):
    """One group reads several topics; events without a list go to the configured one, spelled in any usual way; a
    byte order mark is skipped; events without an id are named by their position."""
    second = broker.create_topic(topics.source.name + "-b", 2)
    workers(kafka={"topics": [topics.source.name, second.name]},
            defaults={"list_number": "(833) 555-0199", "use_journeys": False, "skip_journey_if_exists": False},
            **api(book_sim))
    topics.source.produce([event(1, list_number=None, event_id=None)], partition=3)
    second.produce([b"\xef\xbb\xbf" + json.dumps(event(2)).encode()], partition=1)
    ledger.wait_states(accepted=2)
    for topic in (topics.source, second):
        wait_settled(topic, topics.group)
    first = ledger.row(f"{topics.source.name}:3:0")
    assert first["list_number"] == OTHER_LIST and first["phone_number"] == phone(1)
    assert (ledger.row("e-2")["topic"], ledger.row("e-2")["partition"]) == (second.name, 1)
    body = bodies(book_sim)[phone(1)][0]
    assert (body["list_number"], body["use_journeys"], body["skip_journey_if_exists"]) == (OTHER_LIST, False, False)


def test_traceparent_passes_through(topics, ledger, worker, sim):
    """The header traceparent reaches the API call and the dead letter, as it came."""
    headers = [("traceparent", TRACE), ("other", b"x")]
    topics.source.produce([event(1), event(2, phone_number="12")], headers=headers)
    ledger.wait_states(accepted=1, dead=1)
    assert [line["traceparent"] for line in calls(sim)] == [TRACE]
    letter = letters(topics.dead_letter, 1)["e-2"]
    assert text_headers(letter)["traceparent"] == TRACE and text_headers(letter)["other"] == "x"


def test_known_contact_is_updated_not_enrolled_again(topics, ledger, worker, sim):
    """A later event of the same contact is another event with its own row and call, in order; the contact is not
    enrolled again."""
    topics.source.produce([event(1, event_id=f"e-{n}", custom_fields={"seq": n}) for n in range(5)])
    ledger.wait_states(accepted=5)
    first, *later = [ledger.row(f"e-{n}") for n in range(5)]
    assert (first["is_new_contact"], first["journeys_enrolled"], first["http_status"]) == (True, 1, 201)
    for row in later:
        assert (row["is_new_contact"], row["is_new_list_contact"], row["journeys_enrolled"]) == (False, False, 0)
        assert row["contact_id"] == first["contact_id"]
    contact = sim.contact(phone(1), LIST)
    assert contact["enrolments"] == 1 and contact["seqs"] == list(range(5)), contact


def test_validation_mode_inline(topics, ledger, workers, book_sim, api):
    """validation.mode inline validates events that do not say; an event's own word wins, both ways; the result is
    kept and the contact created whatever it is."""
    workers(validation={"mode": "inline"}, **api(book_sim))
    fixed_line = "+13122009001"
    topics.source.produce([event(1), event(2, use_validation=False), event(3, phone_number=fixed_line)])
    ledger.wait_states(accepted=3)
    assert ledger.row("e-1")["validation"]["disposition"] == "ok"
    assert ledger.row("e-2")["validation"] is None
    assert ledger.row("e-3")["validation"]["disposition"] == "unreachable"
    sent = bodies(book_sim)
    assert [sent[number][0]["use_validation"] for number in (phone(1), phone(2), fixed_line)] == [True, False, True]
    assert sent[phone(1)][0]["force"] is False and "force" not in sent[phone(2)][0]


def test_duplicates_have_no_effect_twice(topics, ledger, worker, sim):
    """The same event again: no call, no row, no warning. The same id with other content: one warning
    duplicate_differs a record. The id of another contact's event: a row of its own under the position, dead with
    event_id_conflict, and a dead letter."""
    first = event(1, custom_fields={"a": 1, "b": 2})
    same = {"custom_fields": {"b": 2, "a": 1}, "list_number": "8335550100", "phone": phone(1), "event_id": "e-1"}
    positions = topics.source.produce([first, event(2)], partition=0, timestamp_ms=SENT_AT_MS)
    ledger.wait_states(accepted=2)
    before = dump(ledger)
    topics.source.produce([first, same], partition=0, timestamp_ms=SENT_AT_MS + 60000)
    topics.source.produce([same], partition=1)
    wait_settled(topics.source, topics.group)
    assert dump(ledger) == before

    topics.source.produce([event(1, custom_fields={"a": 2})], partition=0)
    [conflict] = topics.source.produce([event(3, event_id="e-1")], partition=2)
    ledger.wait_states(accepted=2, dead=1)
    wait_settled(topics.source, topics.group)
    assert ledger.warnings("e-1") == [("worker", "duplicate_differs")]
    own_id = f"{topics.source.name}:{conflict[0]}:{conflict[1]}"
    row = ledger.row(own_id)
    assert (row["code"], row["attempts"], row["phone_number"]) == ("event_id_conflict", 0, phone(3))
    letter = letters(topics.dead_letter, 1)[own_id]
    assert json.loads(letter.value)["event_id"] == "e-1"
    assert text_headers(letter)["signup.error.code"] == "event_id_conflict"
    kept = ledger.row("e-1")
    assert (kept["partition"], kept["offset"], kept["state"]) == (*positions[0], "accepted")
    assert sorted(line["phone"] for line in calls(sim)) == [phone(1), phone(2)]


def test_two_records_of_one_event_in_one_batch(topics, ledger, workers, sim):
    """Copies of an event that lie side by side, on one and on several partitions, cost one call."""
    for partition in range(4):
        topics.source.produce([event(number) for number in range(50) for _ in range(2)], partition=partition)
    workers()
    ledger.wait_states(accepted=50)
    wait_settled(topics.source, topics.group)
    assert len(calls(sim)) == 50
    assert {row["replays"] for row in ledger.rows()} == {0}


def test_corrected_event_under_its_old_id(topics, ledger, worker, sim):
    """A dead event that is published again at another position is reopened: accepted, replays 1, the old position in
    `sources`, nothing left of the death. Another bad one is dead again and gets its own letter."""
    [old] = topics.source.produce([event(1, phone_number="12")], partition=0)
    ledger.wait_row("e-1", state="dead")
    letters(topics.dead_letter, 1)
    [again] = topics.source.produce([event(1, phone_number="123")], partition=1)
    row = ledger.wait_row("e-1", state="dead", replays=1, partition=1)
    assert row["sources"] == [f"{topics.source.name}:{old[0]}:{old[1]}"]
    # A row that is reopened before its letter is out needs none any more.
    wait_until(lambda: len(topics.dead_letter.consume()) == 2, 30, "the letter of the second death")
    [new] = topics.source.produce([event(1)], partition=2)
    row = ledger.wait_row("e-1", state="accepted")
    assert (row["partition"], row["offset"], row["replays"], row["attempts"]) == (*new, 2, 1)
    assert sorted(row["sources"]) == sorted(f"{topics.source.name}:{p}:{o}" for p, o in (old, again))
    for column in ("code", "error", "payload", "headers", "dead_letter_published_at"):
        assert row[column] is None, column
    wait_settled(topics.source, topics.group)
    assert len(topics.dead_letter.consume()) == 2
    assert len(calls(sim)) == 1


def test_a_new_group_changes_nothing(topics, ledger, workers, sim):
    """Reading the whole topic again with a new group makes no call and changes no row: accepted, dead, conflicting,
    differing, corrected and unreadable records alike."""
    good = [event(number, custom_fields={"n": number}) for number in range(40)]
    bad = [event(100, phone_number="1"), b"{", b"", None, event(101, use_journeys="perhaps"), event(102, event_id=7)]
    worker = workers()
    topics.source.produce(good + bad)
    ledger.wait_final(46)
    topics.source.produce([event(0, custom_fields={"n": "differs"}), event(200, event_id="e-1"), event(100)])
    ledger.wait_row("e-100", state="accepted")
    wait_settled(topics.source, topics.group)
    wait_letters_marked(ledger)
    letters_before = len(topics.dead_letter.consume())
    assert worker.stop() == 0
    before, book = dump(ledger), len(calls(sim))
    assert len(before["event"]) == 47 and before["warning"]

    other = workers(kafka={"group": topics.group + "-again"})
    wait_settled(topics.source, topics.group + "-again")
    assert other.metric("signup_settled_total") == 49
    assert dump(ledger) == before
    assert len(calls(sim)) == book
    assert len(topics.dead_letter.consume()) == letters_before


def test_start_latest(topics, ledger, workers, sim):
    """With kafka.start latest a new group leaves out what was there before, and loses nothing after."""
    topics.source.produce([event(1)])
    worker = workers(kafka={"start": "latest"})
    topics.source.produce([event(2)])
    ledger.wait_states(accepted=1)
    assert ledger.row("e-2") and worker.stop() == 0
    topics.source.produce([event(number) for number in range(3, 30)])
    worker.start()
    ledger.wait_states(accepted=28)
    assert ledger.row("e-1") is None
