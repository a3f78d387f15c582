"""signup-worker consent and forget: what one hands to counsel, and what is left of somebody who wants to be forgotten."""
import csv
import io
import itertools
import json
import os
import pty
import re
import select
import socket
import subprocess
import threading
import time

import pytest

from signup_harness import find_binary, free_port, wait_until
from signup_harness.process import clean_environment
from signup_harness.worker import merge, to_yaml
from signups import (LIST, OTHER_LIST, SENT_AT_MS, assert_enrolled_once, calls, event, letters, phone, wait_letters_marked,
                     wait_settled)

USAGE, NO_INPUT, UNAVAILABLE, TRY_AGAIN = 64, 66, 69, 75
NOT_SENDABLE = {"kind": "answer", "status": 400, "code": "not_sendable", "error": "no", "apply": False}
AWAY = {"kind": "answer", "status": 503, "code": "provider_error", "error": "later", "apply": False}
QUICK = {"inline_attempts": 1, "inline_base": "10ms", "inline_cap": "50ms"}
TABLES = ("event", "warning", "attempt", "phone_validation", "outcome", "erasure", "replay", "forgotten_id", "validation_day")


@pytest.fixture
def command(worker_config, tmp_path):
    """command("consent", ...): the finished process of that command; .json is its output where it was asked for. On a
    terminal of its own with terminal="what is typed there"."""
    numbers = itertools.count(1)

    def run(name, *arguments, terminal=None, stdin="", **changes):
        path = tmp_path / f"{name}{next(numbers)}.yaml"
        path.write_text(to_yaml(merge(worker_config, changes)) + "\n", encoding="utf-8")
        line = list(map(str, [find_binary("signup-worker"), name, "--config", path, *arguments]))
        if terminal is not None:
            return on_terminal(line, terminal)
        done = subprocess.run(line, input=stdin.encode(), capture_output=True, timeout=120, check=False,
                              env=clean_environment())  # as bytes: line ends are looked at
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        done.json = json.loads(done.stdout) if "--json" in arguments and done.stdout else None
        return done
    return run


def on_terminal(line, typed):
    """The finished process of a command that sees a terminal; both outputs are in .stdout."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs,
                               env=clean_environment({"TERM": "xterm"}))
    os.close(theirs)
    os.write(ours, typed.encode())
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                part = b""
            if not part:
                break
            shown += part
    process.wait(10)
    os.close(ours)
    return subprocess.CompletedProcess(line, process.returncode, shown.decode().replace("\r\n", "\n"), "")


@pytest.fixture
def empty_ledger(command, ledger):
    """A ledger that no worker looks at."""
    assert command("migrate").returncode == 0
    return ledger


def add(ledger, number, **columns):
    """A final row as a worker leaves it; `columns` change it."""
    row = {"event_id": f"e-{number}", "topic": "signups", '"partition"': 0, '"offset"': number, "state": "accepted",
           "received_at": f"2025-05-01 11:{number:02}Z", "phone_number": phone(1), "list_number": LIST, "attempts": 1,
           "http_status": 200, "finished_at": f"2025-05-01 12:{number:02}Z"}
    row.update(columns)
    ledger.query(f"INSERT INTO {{schema}}.event ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
                 list(row.values()))


def traces(ledger, number):
    """{table: rows} that hold the phone in any spelling, as text or as bytes."""
    digits = phone(number)[-10:]
    found = {table: ledger.query(f"SELECT count(*) AS n FROM {{schema}}.{table} t WHERE"
                                 " strpos(regexp_replace(t::text, '[^0-9]', '', 'g'), %s) > 0"
                                 " OR strpos(t::text, encode(convert_to(%s, 'UTF8'), 'hex')) > 0", (digits, digits))[0]["n"]
             for table in TABLES}
    return {table: count for table, count in found.items() if count}


def erasures(ledger):
    return ledger.query("SELECT * FROM {schema}.erasure ORDER BY erasure_id")


def forget_until_done(command, number, *arguments, timeout=60):
    """Runs it again while something is in flight."""
    deadline = time.monotonic() + timeout
    while True:
        done = command("forget", phone(number), "--yes", *arguments)
        if done.returncode != TRY_AGAIN:
            return done
        assert "nothing was erased" in done.stderr and time.monotonic() < deadline, done.stderr


# --- consent ---

@pytest.mark.sanitized
def test_the_evidence_is_all_there(topics, ledger, worker, sim, command):
    """Every event of the contact, in order, as table, JSON and CSV: page, time, address, text, the whole consent, what was
    sent and what became of it; nobody else's."""
    consent = {"text": "I agree, \"yes\" \u00fc; call me", "text_version": 3, "user_agent": "x"}
    sim.fault(NOT_SENDABLE, op="upsert", phone=phone(1), list=OTHER_LIST)
    topics.source.produce([event(1, consent=consent, url="https://example.com/?gclid=abc", ip_address="203.0.113.7",
                                 signup_date="2025-04-01T10:00:00Z"),
                           event(2)], timestamp_ms=SENT_AT_MS)
    ledger.wait_states(accepted=2)
    topics.source.produce([event(1, event_id="second", list_number=OTHER_LIST, url="no page")], timestamp_ms=SENT_AT_MS)
    ledger.wait_states(accepted=2, dead=1)
    done = command("consent", "(312) 200-0001", "--json")
    assert done.returncode == 0, done.stderr
    first, second = done.json["events"]
    assert done.json["phone_number"] == phone(1) and done.json["count"] == 2
    assert (first["event_id"], first["state"], first["code"], first["http_status"]) == ("e-1", "accepted", None, 201)
    assert (first["url"], first["ip_address"]) == ("https://example.com/?gclid=abc", "203.0.113.7")
    assert first["consent"] == consent and first["consent_text"] == consent["text"]
    assert first["signup_date"] == "2025-04-01T10:00:00.000Z" and first["list_number"] == LIST
    row = ledger.row("e-1")
    assert first["contact_id"] == row["contact_id"] and first["request"] == row["request"]
    assert first["source"] == f"{row['topic']}:{row['partition']}:{row['offset']}" and first["warnings"] == []
    assert (second["event_id"], second["state"], second["code"]) == ("second", "dead", "not_sendable")
    assert [warning["code"] for warning in second["warnings"]] == ["field_dropped"]
    assert second["consent"] is None and any("1 event brought no consent" in note for note in done.json["notes"])
    sheet = command("consent", phone(1), "--csv")
    assert sheet.returncode == 0 and sheet.stdout.count("\r\n") == 3 and "\r\n" not in sheet.stdout.replace("\r\n", "")
    rows = list(csv.DictReader(io.StringIO(sheet.stdout, newline="")))
    assert [line["event_id"] for line in rows] == ["e-1", "second"]
    assert rows[0]["phone_number"] == phone(1) and rows[0]["consent_text"] == consent["text"]
    assert json.loads(rows[0]["consent"]) == consent and json.loads(rows[0]["request"]) == row["request"]
    assert "brought no consent" in sheet.stderr
    table = command("consent", phone(1))
    assert table.returncode == 0 and "dead: not_sendable" in table.stdout and consent["text"] in table.stdout
    assert phone(2) not in table.stdout + done.stdout + sheet.stdout and "e-2" not in table.stdout
    for arguments, wanted in ((["--list", "(833) 555-0199"], ["second"]), (["--to", "2020-01-01"], []), (["--from", "1h"], ["e-1", "second"])):
        chosen = command("consent", phone(1), "--json", *arguments)
        assert [each["event_id"] for each in chosen.json["events"]] == wanted
        assert chosen.returncode == (0 if wanted else NO_INPUT)


def test_a_spreadsheet_evaluates_nothing(empty_ledger, command):
    """What begins as a formula comes with an apostrophe before it, in every column that a visitor can fill; quotes, line
    breaks and separators survive a reader of RFC 4180."""
    evil = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", " =1+1", "\uff1d1+1", "\r=1"]
    plain = ["a,b", 'say "yes"', "two\r\nlines", "", "x=1", "O'Hara", "+13122000001"]
    for number, text in enumerate(evil + plain):
        add(empty_ledger, number, url=text, ip_address=text, ad_network_id=text, contact_id=text,
            consent=json.dumps({"text": text}))
    done = command("consent", phone(1), "--csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert len(rows) == len(evil) + len(plain)
    for row, text in zip(rows, evil + plain):
        wanted = "'" + text if text in evil else text
        for column in ("url", "ip_address", "ad_network_id", "contact_id", "consent_text"):
            assert row[column] == wanted, (column, text, row[column])
        assert json.loads(row["consent"]) == {"text": text}
        assert not any(value and re.match(r"[\s]*[=@\uff1d-]|[\s]*\+(?!\d+$)", value) for value in row.values()), row


def test_many_events_in_bounded_memory(empty_ledger, command):
    """10,000 events of one phone, whose evidence is far larger than the memory that is allowed."""
    empty_ledger.query("INSERT INTO {schema}.event (event_id, topic, partition, \"offset\", state, phone_number, list_number, consent,"
                       " finished_at) SELECT 'm-' || g, 'signups', 0, g, 'accepted', %s, %s, jsonb_build_object('text', repeat('x', 9000)),"
                       " now() FROM generate_series(1, 10000) g", (phone(1), LIST))
    path = command("consent", phone(2)).args[3]
    for arguments in (["--json"], ["--csv"]):
        script = 'ulimit -v 150000; "$0" "$@" | wc -l'  # kB, most of them libraries
        done = subprocess.run(["bash", "-o", "pipefail", "-c", script, find_binary("signup-worker"), "consent", phone(1),
                               "--config", path, *arguments], capture_output=True, text=True, timeout=120, check=False,
                              env=clean_environment())
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) >= 10000


def test_on_a_terminal(empty_ledger, command):
    """A table with headings, long texts cut, and what to ask for to have them whole."""
    add(empty_ledger, 1, url="https://example.com/" + "p" * 100, consent=json.dumps({"text": "ü" * 100}))
    done = command("consent", "312 200 0001", terminal="")
    assert done.returncode == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert re.search(r"received +signed up +list +outcome +ip address +page +consent text", shown)
    assert "p" * 100 not in done.stdout and "ü" * 100 not in done.stdout and "…" in done.stdout
    assert "\ufffd" not in done.stdout and "--json and --csv have them whole" in done.stdout


@pytest.mark.parametrize("name, more", [("consent", []), ("forget", ["--yes"])])
def test_the_phone_is_not_in_the_process_list(worker_config, tmp_path, name, more):
    """While the command waits for PostgreSQL, its line in the process list holds no digit of the phone."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = tmp_path / "worker.yaml"
        path.write_text(to_yaml(merge(worker_config, {"postgres": {
            "dsn": f"postgresql://127.0.0.1:{silent.getsockname()[1]}/x"}})) + "\n", encoding="utf-8")
        process = subprocess.Popen([find_binary("signup-worker"), name, "--config", path, phone(1), *more],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=clean_environment())
        silent.settimeout(20)
        connection, _ = silent.accept()
        with open(f"/proc/{process.pid}/cmdline", encoding="utf-8") as file:
            line = file.read().split("\0")
        process.kill()
        process.communicate()
        connection.close()
    assert line[1] == name and "*" * len(phone(1)) in line and not any(phone(1)[2:] in word for word in line), line


def test_the_phone_comes_on_standard_input(empty_ledger, command):
    """"-" is a line of standard input, for who does not want a phone in the shell's history."""
    add(empty_ledger, 1)
    assert "accepted" in command("consent", "-", stdin="(312) 200-0001\n").stdout
    done = command("forget", "-", "--yes", stdin=phone(1) + "\n")
    assert done.returncode == 0 and "is forgotten: 1 event emptied" in done.stdout
    for name in (["consent", "-"], ["forget", "-", "--yes"]):
        assert command(*name).returncode == NO_INPUT, name
        done = command(*name, stdin=phone(1) + "999999999\n")
        assert done.returncode == USAGE and phone(1)[2:] not in done.stderr, "somebody's phone, with a slip"


def test_nothing_is_found(empty_ledger, command):
    """Nothing found is said, also as JSON and CSV, and is an exit code of its own; so is a server that is away."""
    done = command("consent", phone(1))
    assert done.returncode == NO_INPUT and "holds no event of" in done.stderr and not done.stdout
    assert phone(1)[2:] not in done.stderr, "what goes to standard error ends in logs"
    assert command("consent", phone(1), "--json").json["events"] == []
    assert command("consent", phone(1), "--csv").stdout.count("\r\n") == 1
    assert command("consent", "abc").returncode == USAGE
    assert command("consent").returncode == USAGE
    assert command("consent", phone(1), "--json", "--csv").returncode == USAGE
    assert command("consent", phone(1), "--from", "2025-02-30").returncode == USAGE
    assert command("consent", phone(1), "--from", "2025-02-02", "--to", "2025-02-01").returncode == USAGE
    away = {"postgres": {"dsn": f"postgresql://127.0.0.1:{free_port()}/x"}}
    assert command("consent", phone(1), **away).returncode == UNAVAILABLE
    assert command("forget", phone(1), "--yes", **away).returncode == UNAVAILABLE
    for name in ("consent", "forget"):
        assert "exit codes" in command(name, "--help").stdout


def test_what_is_older_than_a_column_is_told(empty_ledger, command):
    """Rows from before the ledger kept attribution are said to be so."""
    add(empty_ledger, 1, received_at="2020-01-01Z")
    done = command("consent", phone(1), "--json")
    assert any("before the ledger kept attribution" in note for note in done.json["notes"]), done.json["notes"]


# --- forget ---

@pytest.mark.sanitized
def test_a_person_is_forgotten(topics, ledger, workers, sim, command):
    """Accepted, dead, duplicate and parked events of one person: nothing of them is left, the others keep everything, the
    topic read again by a new group signs nobody up, nor does a replay, and the proof tells who, when, why."""
    workers(retry={**QUICK, "park_base": "1h", "park_cap": "1h"})
    named = f"lead-{phone(1)[2:5]}-{phone(1)[5:]}"
    sim.fault(NOT_SENDABLE, op="upsert", phone=phone(1), list=OTHER_LIST)
    records = [event(1), event(1, event_id=named), event(1, event_id=named), event(1), event(2, event_id="other"),
               event(1, event_id="dies", list_number=OTHER_LIST), event(1, event_id=named + "-dies", list_number=OTHER_LIST),
               event(1, event_id=None)]
    topics.source.produce(records, key_field="phone_number")
    ledger.wait_states(accepted=4, dead=2)
    wait_settled(topics.source, topics.group)
    sim.clear_faults()
    sim.fault(AWAY, op="upsert")
    topics.source.produce([event(1, event_id="waits")])
    ledger.wait_row("waits", state="parked")
    sim.clear_faults()
    letters(topics.dead_letter, 2)
    wait_letters_marked(ledger)
    other = ledger.row("other")
    assert set(traces(ledger, 1)) >= {"event"}
    look = command("forget", phone(1), "--dry-run")
    assert look.returncode == 0 and "dry run: nothing was changed" in look.stdout, look.stderr
    assert re.search(r"^ +6  events$", look.stdout, re.M) and "will not be sent" in look.stdout
    assert ledger.row("dies")["phone_number"] == phone(1)
    done = command("forget", phone(1), "--yes", "--who", "ann", "--reason", "letter of 1 May")
    assert done.returncode == 0, done.stderr
    assert f"{phone(1)} is forgotten: 6 events emptied" in done.stdout and "the vendor" in done.stdout
    assert topics.source.name in done.stdout and topics.dead_letter.name in done.stdout
    assert traces(ledger, 1) == {}
    assert ledger.row("other") == other
    assert ledger.rows("forgotten_at IS NOT NULL AND (code <> 'forgotten' OR state NOT IN ('accepted', 'dead'))") == []
    proof, = erasures(ledger)
    assert (proof["who"], proof["reason"], proof["events"], proof["not_sent"], proof["renamed"]) == ("ann", "letter of 1 May", 6, 1, 2)
    again = command("forget", "312.200.0001", "--yes")
    assert again.returncode == 0 and "was forgotten at" in again.stdout and "by ann" in again.stdout
    assert len(erasures(ledger)) == 1
    assert command("consent", phone(1)).returncode == NO_INPUT
    told = command("consent", phone(1), "--json")
    assert any("was forgotten at" in note and "by ann" in note for note in told.json["notes"])
    # All of it once more, by a group of its own.
    before, rows = len(calls(sim)), ledger.rows()
    group = topics.group + "-again"
    workers(kafka={"group": group})
    wait_settled(topics.source, group)
    ledger.query("UPDATE {schema}.event SET due_at = now() WHERE state = 'parked'")
    assert len(calls(sim)) == before and traces(ledger, 1) == {} and ledger.rows() == rows
    # Neither the rows nor the letters bring them back.
    for arguments in (["--all"], ["--all", "--from-topic", topics.dead_letter.name]):
        replayed = command("replay", *arguments, "--include-unsubscribed", "--json")
        assert replayed.json["replayed"] == 0, replayed.stdout
    assert traces(ledger, 1) == {} and len(calls(sim)) == before
    # A new event of theirs is one.
    topics.source.produce([event(1, event_id="new")])
    ledger.wait_row("new", state="accepted", phone_number=phone(1))
    assert_enrolled_once(sim)


def test_what_is_in_flight_is_waited_for(topics, ledger, workers, sim, command):
    """While the API has not answered, nothing is erased and it says why; afterwards it is."""
    workers(contacts_api={"timeout": "5s"})
    sim.fault({"kind": "hang", "at": "after_request", "apply": False}, op="upsert", phone=phone(1), count=1)
    topics.source.produce([event(1)])
    wait_until(lambda: calls(sim, phone=phone(1)), 20, "a call that is not answered")
    done = command("forget", phone(1), "--yes")
    assert done.returncode == TRY_AGAIN and "1 event is being worked on" in done.stderr, done.stderr
    assert "--abandoned" not in done.stderr and ledger.row("e-1")["phone_number"] == phone(1)
    ledger.wait_states(accepted=1)
    assert command("forget", phone(1), "--yes").returncode == 0
    assert traces(ledger, 1) == {}


def test_letters_and_outcomes_are_waited_for(empty_ledger, command):
    """A dead letter or an outcome that is not published yet, and a worker that died: refused, each with its reason; with
    --abandoned it is dropped; a live lease is never."""
    ledger = empty_ledger
    add(ledger, 1, state="dead", code="not_sendable")
    done = command("forget", phone(1), "--yes")
    assert done.returncode == TRY_AGAIN and "1 dead letter is not on its topic yet" in done.stderr
    assert "--abandoned" in done.stderr and ledger.row("e-1")["phone_number"]
    ledger.query("UPDATE {schema}.event SET dead_letter_published_at = now()")
    ledger.query("INSERT INTO {schema}.outcome (event_id, body) VALUES ('e-1', '{}')")
    done = command("forget", phone(1), "--yes")
    assert done.returncode == TRY_AGAIN and "1 outcome is not on its topic yet" in done.stderr
    ledger.query("DELETE FROM {schema}.outcome")
    ledger.query("UPDATE {schema}.event SET state = 'claimed', lease_until = now() - interval '1 hour'")
    done = command("forget", phone(1), "--yes", "--dry-run")
    assert done.returncode == TRY_AGAIN and "1 event lost its worker" in done.stderr
    ledger.query("UPDATE {schema}.event SET lease_until = now() + interval '1 hour'")
    done = command("forget", phone(1), "--yes", "--abandoned")
    assert done.returncode == TRY_AGAIN and "1 event is being worked on" in done.stderr
    ledger.query("UPDATE {schema}.event SET lease_until = now() - interval '1 hour'")
    done = command("forget", phone(1), "--yes", "--abandoned")
    assert done.returncode == 0 and traces(ledger, 1) == {}
    assert erasures(ledger)[0]["not_sent"] == 1


def test_it_asks(empty_ledger, command):
    """On a terminal it shows what there is, and only "yes" erases; without one it needs --yes; the proof must not name the
    phone."""
    ledger = empty_ledger
    add(ledger, 1)
    assert command("forget", phone(1)).returncode == USAGE
    for reason in ("for +1 (312) 200-0001", "2000001"):
        done = command("forget", phone(1), "--yes", "--reason", reason)
        assert done.returncode == USAGE and "--reason names the phone" in done.stderr
    assert command("forget", phone(1), "--yes", "--who", phone(1)).returncode == USAGE
    for answer in ("no\n", "\n", "y\n", "yesss\n", "\x04"):
        done = command("forget", phone(1), terminal=answer)
        assert done.returncode == TRY_AGAIN and "cannot be undone" in done.stdout, (answer, done.stdout)
        assert ledger.row("e-1")["phone_number"] == phone(1) and not erasures(ledger)
    done = command("forget", phone(1), terminal="yes\n")
    assert done.returncode == 0 and "is forgotten: 1 event emptied" in done.stdout
    assert erasures(ledger)[0]["who"] and traces(ledger, 1) == {}
    done = command("forget", phone(2), "--yes")
    assert done.returncode == 0 and f"the ledger holds nothing of {phone(2)}" in done.stdout


@pytest.mark.partitions(2)
def test_forgotten_while_events_keep_coming(topics, ledger, workers, sim, command):
    """Two workers, and somebody who signs up again and again, also twice under one id and with the phone in the id, is
    forgotten meanwhile: each time it returns 0, no row holds the phone but those of events that came later; at the end,
    once more, none does, and the topic read again makes no call."""
    running = [workers(retry=QUICK) for _ in range(2)]
    stop = threading.Event()
    produced = []

    def produce():
        for number in itertools.count():
            if stop.is_set():
                return
            theirs = {"event_id": f"p-{number // 2}-{phone(1)[2:]}" if number % 3 else f"p-{number}",
                      "list_number": LIST if number % 4 < 2 else OTHER_LIST}
            topics.source.produce([event(1, **theirs), event(100 + number, event_id=f"o-{number}")], partition=number % 2)
            produced.append(number)
            stop.wait(0.01)
    producer = threading.Thread(target=produce)
    producer.start()
    try:
        ledger.wait_row("o-0", state="accepted")
        for round_number in range(1, 6):
            done = forget_until_done(command, 1)
            assert done.returncode == 0, done.stderr
            erased, = ledger.query("SELECT max(erased_at) AS at, count(*) AS n FROM {schema}.erasure")
            older = ledger.query("SELECT event_id FROM {schema}.event WHERE phone_number = %s AND received_at < %s",
                                 (phone(1), erased["at"]))
            assert older == [], f"round {round_number}: {older[:5]}"
            if erased["n"] == round_number:
                count = ledger.query("SELECT count(*) AS n FROM {schema}.event WHERE phone_number = %s", (phone(1),))[0]["n"]
                wait_until(lambda: ledger.query("SELECT count(*) AS n FROM {schema}.event WHERE phone_number = %s",
                                                (phone(1),))[0]["n"] > count, 20, "another event of theirs")
    finally:
        stop.set()
        producer.join()
    wait_settled(topics.source, topics.group)
    wait_until(lambda: set(ledger.states()) == {"accepted"}, 20, lambda: f"states {ledger.states()}")
    done = forget_until_done(command, 1)
    assert done.returncode == 0 and traces(ledger, 1) == {}
    assert len(ledger.rows("event_id LIKE 'o-%%'")) == len(produced)
    before, rows = len(calls(sim)), ledger.rows()
    assert_enrolled_once(sim)
    group = topics.group + "-again"
    workers(kafka={"group": group})
    wait_settled(topics.source, group)
    assert len(calls(sim)) == before and ledger.rows() == rows and traces(ledger, 1) == {}
    # The last record of a worker may have been renamed: a connection that is new asks for it, and is not alarmed.
    ledger.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'signup-worker'"
                 " AND pid <> pg_backend_pid()")
    topics.source.produce([event(9, event_id="after")])
    ledger.wait_row("after", state="accepted")
    for worker in running:
        assert worker.metric("signup_ledger_forgotten_total") == 0
