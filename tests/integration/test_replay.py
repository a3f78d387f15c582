"""signup-worker replay: what died comes back with one command, once, in order, and nobody who has left the list is sent
to it again."""
import itertools
import json
import re
import signal
import subprocess
import threading
import time

import pytest

from signup_harness import find_binary, free_port, wait_until
from signup_harness.process import clean_environment, spawn
from signup_harness.worker import merge, to_yaml
from signups import (LIST, OTHER_LIST, assert_enrolled_once, assert_never_two_at_once, bodies, calls, dump, event,
                     letters, phone, wait_letters_marked)

USAGE, DATA, NO_INPUT, UNAVAILABLE, TRY_AGAIN, REFUSED, CONFIG = 64, 65, 66, 69, 75, 77, 78
NOT_SENDABLE = {"kind": "answer", "status": 400, "code": "not_sendable", "error": "no", "apply": False}
QUICK = {"inline_attempts": 3, "inline_base": "10ms", "inline_cap": "50ms"}


@pytest.fixture
def replay(worker_config, tmp_path):
    """replay(*arguments, **configuration changes): the finished process of `signup-worker replay`; .json is its
    report where it was asked for."""
    numbers = itertools.count(1)

    def run(*arguments, stdin=None, command="replay", background=False, environment=None, **changes):
        path = tmp_path / f"replay{next(numbers)}.yaml"
        path.write_text(to_yaml(merge(worker_config, {"retry": QUICK, **changes})) + "\n", encoding="utf-8")
        line = [find_binary("signup-worker"), command, "--config", path, *map(str, arguments)]
        if background:
            return spawn(line, tmp_path / "replay.out")
        done = subprocess.run(list(map(str, line)), input=stdin, capture_output=True, text=True, timeout=120, check=False,
                              env=clean_environment(environment))
        done.json = json.loads(done.stdout) if "--json" in arguments and done.returncode != USAGE and done.stdout else None
        return done
    return run


@pytest.fixture
def empty_ledger(replay, ledger):
    """A ledger that no worker looks at."""
    assert replay(command="migrate").returncode == 0
    return ledger


def add_dead(ledger, number, **columns):
    """A dead row as a worker leaves it; `columns` change it."""
    row = {"event_id": f"e-{number}", "topic": "signups", '"partition"': 0, '"offset"': number, "state": "dead",
           "received_at": "2025-05-01 11:00Z", "phone_number": phone(number), "list_number": LIST, "attempts": 1,
           "http_status": 400, "code": "not_sendable", "error": "no", "error_class": "rejected",
           "payload": json.dumps(event(number)).encode(), "finished_at": f"2025-05-01 12:{number % 60:02}Z",
           "dead_letter_published_at": "2025-05-01 13:00Z"}
    row.update(columns)
    ledger.query(f"INSERT INTO {{schema}}.event ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
                 list(row.values()))


def replays(ledger):
    return ledger.query("SELECT * FROM {schema}.replay ORDER BY replay_id")


def unsubscribe(sim, number, list_number=LIST):
    """The contact gets onto the list and leaves it."""
    sim.control("POST", "/_sim/contact", {"phone": phone(number), "list": list_number, "active": False})


def looked_up(sim):
    return [line["phone"] for line in sim.book("received", op="read")]


def kill_all(sim, topics, ledger, numbers, **fields):
    """These events die of a carrier that says no, which it does no longer afterwards; their letters are out."""
    before = ledger.states()
    sim.fault(NOT_SENDABLE, op="upsert")
    topics.source.produce([event(number, **fields) for number in numbers])
    wanted = {**before, "dead": before.get("dead", 0) + len(list(numbers))}
    ledger.wait_states(**wanted)
    sim.clear_faults()
    wait_letters_marked(ledger)


# --- the whole way ---

@pytest.mark.sanitized
def test_what_died_comes_back(topics, ledger, worker, sim, replay):
    """Dead events go back to the running worker and are accepted; --wait says so and exits 0; the ledger's row, its warnings
    and signup.replay tell who did it and why; once more finds nothing to do and changes nothing."""
    kill_all(sim, topics, ledger, range(1, 6))
    letters(topics.dead_letter, 5)
    done = replay("--code", "not_sendable", "--wait", "--reason", "the carrier was wrong", "--by", "ann")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^replay 1 by ann$", done.stdout, re.M)
    assert re.search(r"^ +5  replayed", done.stdout, re.M) and re.search(r"^accepted +200 +5|^accepted +201 +5",
                                                                        done.stdout, re.M), done.stdout
    for number in range(1, 6):
        row = ledger.row(f"e-{number}")
        assert (row["state"], row["replays"], row["attempts"], row["replay_id"]) == ("accepted", 1, 1, 1)
        assert row["code"] is None and row["payload"] is None and row["park_order"] is None
        said = ledger.query("SELECT message FROM {schema}.warning WHERE event_id = %s AND code = 'replayed'",
                            (f"e-{number}",))
        assert [entry["message"] for entry in said] == ["replayed by ann (replay 1): it had died of not_sendable (HTTP 400)"]
    made, = replays(ledger)
    assert (made["who"], made["reason"], made["selected"], made["replayed"]) == ("ann", "the carrier was wrong", 5, 5)
    assert made["selection"] == {"code": ["not_sendable"]} and made["finished_at"] >= made["started_at"]
    assert sum(made[name] for name in made if name.startswith("skipped") or name == "failed") == 0
    assert sorted(looked_up(sim)) == [phone(number) for number in range(1, 6)]
    before = dump(ledger)
    again = replay("--code", "not_sendable", "--wait")
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert dump(ledger) == before and len(replays(ledger)) == 1
    assert len(calls(sim)) == 10
    assert_enrolled_once(sim)
    assert len(topics.dead_letter.consume()) == 5


@pytest.mark.partitions(1)
def test_a_contacts_events_keep_their_order(topics, ledger, worker, sim, replay):
    """Events of one contact that died go in the order of the topic, also when they died the other way round, and those that
    come meanwhile go behind them."""
    fields = [{"event_id": f"o-{n}", "custom_fields": {"n": n}} for n in range(8)]
    sim.fault(NOT_SENDABLE, op="upsert")
    topics.source.produce([event(1, **each) for each in fields])
    ledger.wait_states(dead=8)
    ledger.query("UPDATE {schema}.event SET finished_at = finished_at - \"offset\" * interval '1 minute'")
    sim.clear_faults()
    before = len(calls(sim))
    done = replay("--all", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    orders = ledger.query("SELECT event_id FROM {schema}.event ORDER BY contact_id, finished_at")
    assert [row["event_id"] for row in orders] == [each["event_id"] for each in fields]
    assert len(calls(sim)) == before + 8
    assert_never_two_at_once(sim)
    assert_enrolled_once(sim)


def test_what_dies_again_is_said(topics, ledger, worker, sim, replay):
    """--wait exits 65 when something died again, and tells of what; it can be replayed again."""
    kill_all(sim, topics, ledger, range(1, 4))
    sim.fault({**NOT_SENDABLE, "code": "invalid_phone"}, op="upsert", phone=phone(2))
    done = replay("--all", "--wait", "--json")
    assert done.returncode == DATA, done.stderr
    assert {(entry["state"], entry["code"]): entry["events"] for entry in done.json["outcomes"]} \
        == {("accepted", ""): 2, ("dead", "invalid_phone"): 1}
    assert done.json["waiting"] == 0 and done.json["replayed"] == 3
    sim.clear_faults()
    ledger.wait_row("e-2", state="dead")
    again = replay("--all", "--wait")
    assert again.returncode == 0, again.stdout
    assert ledger.row("e-2")["replays"] == 2 and ledger.row("e-2")["state"] == "accepted"


def test_a_call_of_unknown_fate_stays_guarded(topics, ledger, workers, book_sim, api, replay):
    """An event that died after a call that may have taken effect goes again with skip_journey_if_exists true, although it
    asked for false: nobody is enrolled twice."""
    workers(retry=QUICK, **api(book_sim))
    book_sim.faults([{"op": "upsert", "count": 1, "action": {"kind": "close", "at": "after_request", "apply": True}},
                     {"op": "upsert", "action": NOT_SENDABLE}])
    topics.source.produce([event(1, skip_journey_if_exists=False)])
    ledger.wait_states(dead=1)
    assert ledger.row("e-1")["maybe_sent"]
    book_sim.clear_faults()
    done = replay("--all", "--wait", **api(book_sim))
    assert done.returncode == 0, done.stdout + done.stderr
    assert bodies(book_sim)[phone(1)][-1]["skip_journey_if_exists"] is True
    assert_enrolled_once(book_sim)


# --- which ---

def test_selected_by_each_criterion(empty_ledger, replay, tmp_path):
    """Every way to select finds exactly what it says; within an option one is enough, all options must apply."""
    ledger = empty_ledger
    add_dead(ledger, 1)
    add_dead(ledger, 2, code="missing_phone_number", http_status=None, phone_number=None)
    add_dead(ledger, 3, code=None, http_status=402, error_class="billing")
    add_dead(ledger, 4, list_number=OTHER_LIST)
    add_dead(ledger, 5, ad_network_source="facebook", ad_network_id="c-9")
    add_dead(ledger, 6, finished_at="now()")
    add_dead(ledger, 7, state="accepted")
    file = tmp_path / "ids"
    file.write_text("e-4\n\ne-5\r\ne-7\nnobody\n", encoding="utf-8")

    def selected(*arguments, stdin=None):
        done = replay(*arguments, "--include-unsubscribed", "--dry-run", "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.json["selected"], {(group["code"], group["status"], group["list_number"], group["ad_network_source"]):
                                       group["events"] for group in done.json["groups"]}
    usual = ("not_sendable", 400, LIST, None)
    assert selected("--all")[0] == 6
    assert selected("--code", "missing_phone_number") == (1, {("missing_phone_number", None, LIST, None): 1})
    assert selected("--code", "missing_phone_number", "--code", "not_sendable")[0] == 5
    assert selected("--status", 402) == (1, {(None, 402, LIST, None): 1})
    assert selected("--status", 0)[0] == 1
    assert selected("--class", "billing")[0] == 1
    assert selected("--list", "(833) 555-0199") == (1, {("not_sendable", 400, OTHER_LIST, None): 1})
    assert selected("--ad-network", "facebook") == (1, {("not_sendable", 400, LIST, "facebook"): 1})
    assert selected("--ad-id", "c-9")[0] == 1
    assert selected("--event", "e-1", "--event", "e-7", "--event", "nobody") == (1, {usual: 1})
    assert selected("--events-from", file)[0] == 2
    assert selected("--events-from", "-", stdin="e-1\n")[0] == 1
    assert selected("--since", "1h")[0] == 1
    assert selected("--since", "2025-05-01T12:03:00Z", "--until", "2025-05-01T07:05-05:00")[0] == 2
    assert selected("--until", "2025-05-01T12:02")[0] == 1
    assert selected("--until", "2025-05-01")[0] == 0
    assert selected("--code", "not_sendable", "--list", OTHER_LIST, "--status", 400)[0] == 1
    assert selected("--code", "not_sendable", "--status", 402)[0] == 0


@pytest.mark.parametrize("arguments", [
    [], ["--dry-run"], ["--all", "--code", "x"], ["--status", "42"], ["--status", "x"], ["--class", "accepted"],
    ["--since", "yesterday"], ["--since", "2025-02-30"], ["--since", "2025-05-02", "--until", "2025-05-01"], ["--all", "--rate", "0"],
    ["--all", "--rate", "5/year"], ["--all", "--limit", "0"], ["--all", "--wait", "--dry-run"], ["--all", "extra"],
    ["--list", "12"], ["--event", ""]], ids=" ".join)
def test_usage_is_64(replay, arguments):
    """A selection is demanded, and what cannot be meant is refused before anything is reached."""
    done = replay(*arguments, postgres={"dsn": f"postgresql://x:y@127.0.0.1:{free_port()}/none"})
    assert done.returncode == USAGE and done.stdout == "", done.stderr
    assert "signup-worker replay" in done.stderr
    if arguments in ([], ["--dry-run"]):
        assert "--all" in done.stderr


def test_help(replay):
    done = replay("--help")
    assert done.returncode == 0 and "examples:" in done.stdout and "exit codes:" in done.stdout and done.stderr == ""


# --- dry run ---

def test_dry_run_changes_nothing(empty_ledger, sim, replay):
    """--dry-run says in groups what would go and what would not, and leaves every row as it is."""
    ledger = empty_ledger
    for number in range(1, 6):
        add_dead(ledger, number)
    add_dead(ledger, 6, code="list_not_found", ad_network_source="adwords")
    add_dead(ledger, 7, payload=None)
    add_dead(ledger, 8)
    add_dead(ledger, 9, state="accepted", phone_number=phone(8))
    unsubscribe_after_signup(sim, replay, 3)
    before = dump(ledger)
    done = replay("--all", "--dry-run")
    assert done.returncode == DATA, done.stdout + done.stderr
    lines = {tuple(line.split()) for line in done.stdout.splitlines()}
    assert ("not_sendable", "400", LIST, "-", "7", "4", "1", "1", "1", "-", "2025-05-01T12:01:00Z",
            "2025-05-01T12:08:00Z") in lines, done.stdout
    assert ("list_not_found", "400", LIST, "adwords", "1", "1", "-", "-", "-", "-", "2025-05-01T12:06:00Z",
            "2025-05-01T12:06:00Z") in lines
    assert "dry run: 5 would go; nothing was changed" in done.stdout
    assert "(--limit)" in replay("--all", "--dry-run", "--limit", 2).stdout
    assert dump(ledger) == before and replays(ledger) == []
    whole = replay("--all", "--dry-run", "--json").json
    assert (whole["selected"], whole["would_go"], whole["replayed"], whole["replay_id"]) == (8, 5, 0, None)
    assert {entry["event_id"]: entry["why"] for entry in whole["not_replayed"]} \
        == {"e-3": "unsubscribed", "e-7": "without original", "e-8": "superseded"}


def unsubscribe_after_signup(sim, replay, *numbers):
    """These contacts are on the list and have left it."""
    import http.client
    for number in numbers:
        connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=20)
        connection.request("POST", "/api/v2/contacts", json.dumps({"phone_number": phone(number), "list_number": LIST}),
                           {"X-Api-Key": sim.key, "Content-Type": "application/json"})
        assert connection.getresponse().status in (200, 201)
        connection.close()
        unsubscribe(sim, number)


# --- who must not, and what must not ---

def test_unsubscribed_are_left_alone(empty_ledger, sim, replay):
    """A contact that has left the list is not sent to it again, one that is on another list or unknown is; each is looked up
    once, however many events it has. --include-unsubscribed looks nobody up."""
    ledger = empty_ledger
    for number in (1, 2, 3):
        add_dead(ledger, number)
    add_dead(ledger, 11, phone_number=phone(1))
    add_dead(ledger, 12, phone_number=phone(1), list_number=OTHER_LIST)
    add_dead(ledger, 13, phone_number=None)
    unsubscribe_after_signup(sim, replay, 1)
    done = replay("--all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ +2  skipped: unsubscribed", done.stdout, re.M), done.stdout
    assert "e-11 +1********01: unsubscribed" in done.stdout and phone(1) not in done.stdout + done.stderr
    states = {row["event_id"]: row["state"] for row in ledger.rows()}
    assert states == {"e-1": "dead", "e-11": "dead", "e-2": "parked", "e-3": "parked", "e-12": "parked", "e-13": "parked"}
    assert sorted(looked_up(sim)) == [phone(1), phone(1), phone(2), phone(3)]  # contact 1 for each of its lists
    assert replays(ledger)[0]["skipped_unsubscribed"] == 2
    seen = len(looked_up(sim))
    assert replay("--all", "--include-unsubscribed").returncode == 0
    assert ledger.states() == {"parked": 6} and len(looked_up(sim)) == seen


def test_superseded_are_left_alone(empty_ledger, sim, replay):
    """An event that a newer accepted one of its contact has overtaken stays dead, unless it is asked for."""
    ledger = empty_ledger
    add_dead(ledger, 1)
    add_dead(ledger, 2, state="accepted", phone_number=phone(1))
    add_dead(ledger, 4)
    add_dead(ledger, 3, state="accepted", phone_number=phone(4))
    add_dead(ledger, 5, signup_date="2025-01-01")
    add_dead(ledger, 6, state="accepted", phone_number=phone(5), topic="elsewhere", signup_date="2025-02-01")
    done = replay("--all", "--json")
    assert done.returncode == 0, done.stderr
    assert done.json["superseded"] == 2 and done.json["replayed"] == 1
    assert ledger.row("e-4")["state"] == "parked" and ledger.row("e-1")["state"] == "dead"
    assert looked_up(sim) == [phone(4)]
    again = replay("--all", "--include-superseded", "--json")
    assert again.json["replayed"] == 2 and ledger.states() == {"parked": 3, "accepted": 3}


def test_without_original_is_said(empty_ledger, replay):
    """What is not kept cannot go: it stays as it is, is named, and the exit code says so."""
    add_dead(empty_ledger, 1, payload=None)
    add_dead(empty_ledger, 2)
    done = replay("--all")
    assert done.returncode == DATA and "e-1 +1********01: its original is not kept" in done.stdout, done.stdout
    assert {row["event_id"]: row["state"] for row in empty_ledger.rows()} == {"e-1": "dead", "e-2": "parked"}
    assert replays(empty_ledger)[0]["skipped_without_original"] == 1


# --- how fast, how many, how often ---

def test_rate_paces_events_and_lookups(empty_ledger, sim, replay):
    """--rate is kept by what is handed over and by the look-ups."""
    for number in range(30):
        add_dead(empty_ledger, number)
    began = time.monotonic()
    done = replay("--all", "--rate", "20/s")
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert took > 25 / 20, took
    times = [line["at_us"] for line in sim.book("received", op="read")]
    assert len(times) == 30 and all(last - first > 900_000 for first, last in zip(times, times[25:])), times
    due = [row["due_at"] for row in empty_ledger.query("SELECT due_at FROM {schema}.event ORDER BY due_at")]
    for first, last in zip(due, due[25:]):
        assert (last - first).total_seconds() > 0.9, due


def test_limit(empty_ledger, replay):
    """--limit N: the first N that may go; again goes on with the next."""
    for number in range(10):
        add_dead(empty_ledger, number, **({"payload": None} if number == 1 else {}))
    done = replay("--all", "--limit", 4)
    assert re.search(r"^ +4  replayed", done.stdout, re.M) and re.search(r"^ +5  left beyond --limit", done.stdout, re.M)
    gone = [row["event_id"] for row in empty_ledger.rows("state = 'parked'")]
    assert gone == ["e-0", "e-2", "e-3", "e-4"]
    replay("--all", "--limit", 4)
    assert empty_ledger.states() == {"parked": 8, "dead": 2}


@pytest.mark.sanitized
def test_interrupted_it_goes_on_where_it_was(empty_ledger, replay, tmp_path):
    """Ctrl-C finishes the batch, says how many are left and exits 75; run again the rest goes; each went once."""
    for number in range(60):
        add_dead(empty_ledger, number)
    process = replay("--all", "--rate", "20/s", background=True)
    wait_until(lambda: empty_ledger.states().get("parked", 0) >= 5, 30, "some that have gone")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == TRY_AGAIN
    gone = empty_ledger.states()["parked"]
    assert 5 <= gone < 60
    text = (tmp_path / "replay.out").read_text()
    assert re.search(rf"^ +{gone}  replayed", text, re.M), text
    assert re.search(rf"^ +{60 - gone}  left, because it was interrupted", text, re.M), text
    first, = replays(empty_ledger)
    assert first["replayed"] == gone and first["finished_at"]
    done = replay("--all")
    assert done.returncode == 0
    assert empty_ledger.states() == {"parked": 60}
    assert {row["replays"] for row in empty_ledger.rows()} == {1}
    assert [row["replayed"] for row in replays(empty_ledger)] == [gone, 60 - gone]


def test_killed_it_goes_on_where_it_was(empty_ledger, replay):
    """kill -9: what has gone has gone once, and the record says how much."""
    for number in range(60):
        add_dead(empty_ledger, number)
    process = replay("--all", "--rate", "40/s", background=True)
    wait_until(lambda: empty_ledger.states().get("parked", 0) >= 5, 30, "some that have gone")
    process.kill()
    process.wait(30)
    gone = empty_ledger.states()["parked"]
    first, = replays(empty_ledger)
    assert first["replayed"] == gone and first["finished_at"] is None
    assert replay("--all").returncode == 0
    assert empty_ledger.states() == {"parked": 60} and {row["replays"] for row in empty_ledger.rows()} == {1}


def test_many_operators_at_once(empty_ledger, replay):
    """Four runs of the same at the same time: each event comes back once, and the four figures add up."""
    for number in range(200):
        add_dead(empty_ledger, number)
    results = []
    threads = [threading.Thread(target=lambda: results.append(replay("--all", "--rate", "400/s", "--json")))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0] * 4, [done.stderr for done in results]
    assert sum(done.json["replayed"] for done in results) == 200
    assert all(done.json["replayed"] + done.json["not_dead"] == done.json["selected"] for done in results)
    assert {row["replays"] for row in empty_ledger.rows()} == {1} and empty_ledger.states() == {"parked": 200}
    assert empty_ledger.query("SELECT count(*) AS n FROM {schema}.warning")[0]["n"] == 200


# --- trouble ---

def test_lookups_are_tried_again(empty_ledger, sim, replay):
    """A look-up that fails and then succeeds is no matter."""
    add_dead(empty_ledger, 1)
    sim.fault({"kind": "answer", "status": 500, "code": "internal_error", "error": "x", "apply": False}, op="read", count=2)
    assert replay("--all").returncode == 0
    assert empty_ledger.states() == {"parked": 1} and len(looked_up(sim)) == 3


def test_who_cannot_be_looked_up_stays_dead(empty_ledger, sim, replay):
    """Only that contact's events are left, the others go; 75."""
    for number in (1, 2, 3):
        add_dead(empty_ledger, number)
    sim.fault({"kind": "answer", "status": 500, "code": "internal_error", "error": "x", "apply": False}, op="read",
              phone=phone(2))
    done = replay("--all")
    assert done.returncode == TRY_AGAIN, done.stdout
    assert "e-2 +1********02: its contact could not be looked up (HTTP 500 internal_error)" in done.stdout
    assert {row["event_id"]: row["state"] for row in empty_ledger.rows()} == {"e-1": "parked", "e-2": "dead",
                                                                             "e-3": "parked"}
    assert replays(empty_ledger)[0]["failed"] == 1
    sim.clear_faults()
    assert replay("--all").returncode == 0


def test_api_away_stops_soon(empty_ledger, replay):
    """With the API away nothing goes, nobody asks for hundreds in vain, and it says so; 75."""
    for number in range(100):
        add_dead(empty_ledger, number)
    before = dump(empty_ledger)
    done = replay("--all", contacts_api={"base_url": f"http://127.0.0.1:{free_port()}/api/v2"})
    assert done.returncode == TRY_AGAIN and "one look-up after the other fails" in done.stderr, done.stderr
    assert dump(empty_ledger) == before and replays(empty_ledger) == []
    assert replay("--all", "--include-unsubscribed",
                  contacts_api={"base_url": f"http://127.0.0.1:{free_port()}/api/v2"}).returncode == 0


@pytest.mark.parametrize("status, code", [(401, "unauthorized"), (403, None)])
def test_refused_key_is_77(empty_ledger, sim, replay, status, code):
    """A refused key stops it before anything goes."""
    for number in range(40):
        add_dead(empty_ledger, number)
    sim.fault({"kind": "answer", "status": status, "code": code or "", "error": "refused", "apply": False}, op="read")
    done = replay("--all", "--rate", "40/s")
    assert done.returncode == REFUSED and "refuses the key" in done.stderr, done.stderr
    assert sim.key not in done.stdout + done.stderr
    assert empty_ledger.states() == {"dead": 40} and replays(empty_ledger) == []


def test_exit_codes_of_servers_and_files(empty_ledger, ledger, replay, tmp_path):
    """69 PostgreSQL or Kafka away, 77 a refused login, 78 no ledger, 66 no file; nothing is changed."""
    add_dead(empty_ledger, 1)
    before = dump(empty_ledger)
    nobody = f"127.0.0.1:{free_port()}"
    done = replay("--all", postgres={"dsn": f"postgresql://signup:x@{nobody}/signup"})
    assert done.returncode == UNAVAILABLE and nobody in done.stderr
    password = ledger.dsn.split(":")[2].split("@")[0]
    done = replay("--all", postgres={"dsn": ledger.dsn.replace(password, "wrong-password")})
    assert done.returncode == REFUSED and "wrong-password" not in done.stderr
    done = replay("--all", postgres={"schema": "elsewhere"})
    assert done.returncode == CONFIG and "signup-worker migrate" in done.stderr
    done = replay("--all", "--from-topic", "some.dlq", kafka={"brokers": nobody})
    assert done.returncode == UNAVAILABLE, done.stderr
    assert replay("--events-from", tmp_path / "none").returncode == NO_INPUT
    assert replay("--all", contacts_api={"key_file": str(tmp_path / "none")}).returncode == NO_INPUT
    assert dump(empty_ledger) == before


def test_backend_killed_on_the_way(empty_ledger, replay):
    """A connection that is lost is made again; nothing goes twice and nothing is left."""
    for number in range(100):
        add_dead(empty_ledger, number)
    process = replay("--all", "--rate", "60/s", background=True)
    wait_until(lambda: empty_ledger.states().get("parked", 0) >= 5, 30, "some that have gone")
    for _ in range(3):
        empty_ledger.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                           " AND pid <> pg_backend_pid()")
        parked = empty_ledger.states()["parked"]
        wait_until(lambda seen=parked: empty_ledger.states()["parked"] > seen, 30, "more that have gone")
    assert process.wait(60) == 0
    assert empty_ledger.states() == {"parked": 100} and {row["replays"] for row in empty_ledger.rows()} == {1}
    assert replays(empty_ledger)[0]["replayed"] == 100


# --- from the dead-letter topic ---

def forget(ledger):
    """The ledger is gone."""
    ledger.query("DROP SCHEMA {schema} CASCADE")


@pytest.mark.sanitized
def test_from_topic_into_an_empty_ledger(topics, ledger, worker, sim, replay):
    """With the ledger gone the dead-letter topic brings the events back, under their ids and positions, as they were; the
    worker takes them up; once more they are already there and nothing changes; the topic read again makes no call."""
    sim.fault(NOT_SENDABLE, op="upsert")
    sent = [event(number, ad_network_source="adwords" if number % 2 else "facebook", custom_fields={"n": number})
            for number in range(1, 9)] + [event(20, event_id=None), b"not json"]
    positions = topics.source.produce(sent, headers=[("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")])
    ledger.wait_states(dead=10)
    letters(topics.dead_letter, 10)
    old = {row["event_id"]: row for row in ledger.rows()}
    assert worker.stop() == 0
    sim.clear_faults()
    forget(ledger)
    assert replay(command="migrate").returncode == 0
    topic = topics.dead_letter.name

    dry = replay("--from-topic", topic, "--ad-network", "adwords", "--dry-run", "--json")
    assert (dry.returncode, dry.json["selected"], dry.json["would_go"]) == (0, 4, 4), dry.stderr
    assert ledger.states() == {}
    for arguments, count in ((["--code", "not_sendable"], 9), (["--status", 0], 1), (["--class", "billing"], 0),
                             (["--event", "e-1", "--event", "nobody"], 1), (["--list", LIST], 9), (["--list", OTHER_LIST], 0),
                             (["--since", "1h"], 10), (["--until", "1h"], 0)):
        assert replay("--from-topic", topic, *arguments, "--dry-run", "--json").json["selected"] == count, arguments

    done = replay("--from-topic", topic, "--all", "--json")
    assert done.returncode == 0 and done.json["replayed"] == 10, done.stdout + done.stderr
    for name, row in ((row["event_id"], row) for row in ledger.rows()):
        before = old[name]
        for column in ("topic", "partition", "offset", "phone_number", "list_number", "payload", "headers", "record_key",
                       "record_timestamp_ms", "code", "error", "http_status", "error_class", "ad_network_source",
                       "signup_date", "payload_digest"):
            kept = [bytes(value) if isinstance(value, memoryview) else value for value in (row[column], before[column])]
            assert kept[0] == kept[1], (name, column, kept)
        assert row["state"] == "parked" and row["replays"] == 1 and row["maybe_sent"] == (name != old_bad(old))
    again = replay("--from-topic", topic, "--all", "--json")
    assert (again.returncode, again.json["replayed"], again.json["not_dead"]) == (0, 0, 10)
    assert {entry["detail"] for entry in again.json["not_replayed"]} == {""} and len(replays(ledger)) == 1

    worker.start()
    ledger.wait_states(accepted=9, dead=1)
    assert ledger.row(old_bad(old))["code"] == "malformed_json"
    made = len(calls(sim))
    assert replay("--from-topic", topic, "--code", "not_sendable", "--json").json["not_dead"] == 9
    assert len(calls(sim)) == made and len(positions) == 10
    assert_enrolled_once(sim)


def old_bad(rows):
    """The id of the one event that is no JSON."""
    return next(name for name, row in rows.items() if row["code"] == "malformed_json")


def test_from_topic_beside_a_ledger(topics, ledger, worker, sim, replay):
    """Where the ledger is there its dead rows come back as in any replay, with their own bytes, and what is accepted is left
    alone; of two letters of one event the last death counts; unsubscribed and superseded are skipped here, too."""
    kill_all(sim, topics, ledger, range(1, 7))
    assert replay("--event", "e-1", "--wait").returncode == 0
    sim.fault({**NOT_SENDABLE, "code": "invalid_phone"}, op="upsert", phone=phone(2))
    assert replay("--event", "e-2", "--wait").returncode == DATA
    wait_until(lambda: len(topics.dead_letter.consume()) == 7, 30, "the second letter of e-2")
    sim.clear_faults()
    topics.source.produce([event(3, event_id="newer")])
    ledger.wait_row("newer", state="accepted")
    unsubscribe_after_signup(sim, replay, 4)
    topic = topics.dead_letter.name
    assert replay("--from-topic", topic, "--code", "invalid_phone", "--dry-run", "--json").json["selected"] == 1
    done = replay("--from-topic", topic, "--all", "--wait", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {entry["event_id"]: entry["why"] for entry in done.json["not_replayed"]} \
        == {"e-1": "not dead", "e-3": "superseded", "e-4": "unsubscribed"}
    assert done.json["replayed"] == 3 and done.json["selected"] == 6
    assert ledger.row("e-2")["replays"] == 2
    assert_enrolled_once(sim)


def test_pointers_and_strangers_on_the_topic(topics, ledger, empty_ledger, replay):
    """A pointer letter can go only where the ledger has its bytes; a record that is no letter is left alone and counted; 65."""
    def headers(name, offset, pointer=True):
        made = {"signup.event_id": name, "signup.error.code": "not_sendable", "signup.error.status": "400",
                "signup.error.message": "no", "signup.error.class": "rejected", "signup.attempts": "1",
                "signup.source": f"signups:0:{offset}", "signup.failed_at": "2025-05-01T12:00:00.000Z"}
        if pointer:
            made["signup.pointer"] = "true"
        return [(key, value.encode()) for key, value in made.items()]

    add_dead(ledger, 1)
    add_dead(ledger, 2, payload=None)
    for number in (1, 2, 3):
        pointer = {"pointer": True, "topic": "signups", "partition": 0, "offset": number, "event_id": f"e-{number}",
                   "bytes": 10, "sha256": "0" * 64, "note": ""}
        topics.dead_letter.produce([json.dumps(pointer)], headers=headers(f"e-{number}", number))
    topics.dead_letter.produce([json.dumps(event(4))], headers=headers("e-4", 4, pointer=False))
    topics.dead_letter.produce(["no letter at all"])
    done = replay("--from-topic", topics.dead_letter.name, "--all", "--json")
    assert done.returncode == DATA, done.stdout + done.stderr
    assert done.json["letters"] == {"topic": topics.dead_letter.name, "read": 5, "pointers": 3, "unreadable": 1}
    assert {entry["event_id"]: entry["why"] for entry in done.json["not_replayed"]} \
        == {"e-2": "without original", "e-3": "without original"}
    assert {row["event_id"]: row["state"] for row in ledger.rows()} == {"e-1": "parked", "e-2": "dead", "e-4": "parked"}
    text = replay("--from-topic", topics.dead_letter.name, "--all").stdout
    assert "3 of them pointers" in text and "1 no letters of ours" in text


# --- what people see ---

def test_nothing_secret_is_printed(empty_ledger, sim, ledger, replay):
    """Neither a whole phone nor the key nor the password in any form of the report."""
    for number in range(30):
        add_dead(ledger, number, payload=None)
    password = ledger.dsn.split(":")[2].split("@")[0]
    for arguments in (["--dry-run"], ["--dry-run", "--json"], ["--json"], []):
        done = replay("--all", *arguments)
        for secret in (sim.key, password, *map(phone, range(30))):
            assert secret not in done.stdout + done.stderr
    assert "and 10 more" in done.stdout
