"""signup-worker validate and contact: the real binary against the contacts simulator, which keeps the book of what was
asked and paid for; and the line of check that speaks of phone validation."""
import json
import os
import pty
import re
import select
import signal
import subprocess

import pytest

from signup_harness import find_binary, free_port, wait_until
from signup_harness.process import clean_environment
from signup_harness.worker import merge, to_yaml
from signups import LIST, OTHER_LIST

USAGE, NOT_A_NUMBER, NO_INPUT, UNAVAILABLE, TRY_AGAIN, REFUSED, CONFIG = 64, 65, 66, 69, 75, 77, 78
OK, FIXED, VOIP, RISKY, INVALID, UNKNOWN, NO_PROVIDER = (f"+1212555{digits}" for digits in (
    1234, 9001, 9002, 9003, 9004, 9005, 9006))
FIELDS = ["phone", "valid", "line_type", "carrier", "carrier_raw", "ported", "country", "state", "city", "on_dnc",
          "disposition", "cost", "cached"]
AT_ONCE = 16


@pytest.fixture
def command(sim, tmp_path):
    """command("validate", ..., config={...}, stdin=text): the finished process; its configuration names the simulator."""
    key_file = tmp_path / "key"
    key_file.write_text(sim.key + "\n")
    usual = {"contacts_api": {"base_url": sim.base_url(), "validation_url": sim.validation_url(), "key_file": str(key_file),
                              "timeout": "5s"},
             "retry": {"inline_base": "10ms", "inline_cap": "40ms"}}

    def arguments(name, *own, config=None):
        path = tmp_path / "worker.yaml"
        path.write_text(to_yaml(merge(usual, config or {})) + "\n", encoding="utf-8")
        return [str(find_binary("signup-worker")), name, "--config", str(path), *map(str, own)]

    def run(name, *own, config=None, stdin="", timeout=60):
        done = subprocess.run(arguments(name, *own, config=config), input=stdin, capture_output=True, text=True,
                              env=clean_environment(), timeout=timeout, check=False)
        assert sim.key not in done.stdout + done.stderr
        return done

    run.arguments = arguments
    run.key_file = key_file
    return run


def table(text):
    """{first cell: the other cells} of the table that `text` begins with: two blanks or more, down the whole table, stand
    between its columns."""
    lines = text.split("\n\n")[0].splitlines()
    width = max(map(len, lines)) + 2
    blank = "".join(" " if all(c == " " for c in column) else "x" for column in zip(*(line.ljust(width) for line in lines)))
    edges = [match.span() for match in re.finditer(r"x+(?: x+)*", blank)]
    rows = [[line[start:end].strip() for start, end in edges] for line in lines[1:]]
    return {first: others for first, *others in rows}


def masked(phone):
    """As logs and complaints show it."""
    return phone[:2] + "*" * (len(phone) - 4) + phone[-2:]


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def most_at_once(sim):
    """The most lookups that were under way at a time, by the simulator's book."""
    now = most = 0
    for line in sorted((line for line in sim.book(op="validate") if line["phase"] in ("received", "answered")),
                       key=lambda line: (line["at_us"], line["phase"] == "received")):
        now += 1 if line["phase"] == "received" else -1
        most = max(most, now)
    return most


# ---- usage

@pytest.mark.parametrize("arguments", [["validate"], ["validate", "--nope", OK], ["validate", "--force"], ["contact"],
                                       ["contact", OK, OK], ["contact", "--force", OK]], ids=" ".join)
def test_usage_is_64(arguments):
    done = subprocess.run([find_binary("signup-worker"), *arguments], capture_output=True, text=True, check=False,
                          env=clean_environment({"SIGNUP_CONTACTS_API_KEY": "trk_x"}), timeout=10)
    assert done.returncode == USAGE and done.stdout == "", done
    assert f"signup-worker {arguments[0]} --help" in done.stderr


@pytest.mark.parametrize("name, words", [("validate", ["$0.003", "--force", "65", "402"]), ("contact", ["--json", "1 the API"])])
def test_help(name, words):
    done = subprocess.run([find_binary("signup-worker"), name, "--help"], capture_output=True, text=True, check=True)
    assert f"usage: signup-worker {name}" in done.stdout and "examples:" in done.stdout
    assert all(word in done.stdout for word in words)
    overview = subprocess.run([find_binary("signup-worker"), "--help"], capture_output=True, text=True, check=True).stdout
    assert f"  {name} " in overview


# ---- validate: what is shown

def test_the_table(command, sim):
    """A row for each phone in the order of the command line, and the sum below."""
    done = command("validate", OK, FIXED, VOIP, RISKY, INVALID, UNKNOWN)
    assert done.returncode == 0 and done.stderr == "", done
    assert done.stdout.splitlines()[0].split() == ["phone", "disposition", "line", "type", "carrier", "DNC", "country", "cost",
                                                   "cached"]
    rows = table(done.stdout)
    assert list(rows) == [OK, FIXED, VOIP, RISKY, INVALID, UNKNOWN]
    assert rows[OK] == ["ok", "mobile", "Verizon Wireless", "no", "US", "$0.003", "no"]
    assert [row[0] for row in rows.values()] == ["ok", "unreachable", "unreachable", "risky", "invalid", "unknown"]
    assert [row[1] for row in rows.values()] == ["mobile", "fixed line", "voip", "mobile", "other", "unknown"]
    assert rows[RISKY][3] == "yes" and rows[INVALID][2] == ""
    assert "6 phones looked up, 6 paid for: $0.018" in done.stdout
    assert "\033" not in done.stdout, "colours are for terminals"
    lines = sim.lookups()
    assert {line["host"] for line in lines} == {"validation"}, "v1 has a host of its own"
    assert {line["force"] for line in lines} == {False} and sim.stats()["calls"]["upsert"]["received"] == 0


def test_what_is_known_is_free_and_force_pays(command, sim):
    for options, cost, cached in [([], "$0.003", "no"), ([], "$0.000", "yes"), (["--force"], "$0.003", "no")]:
        done = command("validate", OK, *options)
        assert table(done.stdout)[OK][-2:] == [cost, cached]
    assert "1 phone looked up, 1 paid for: $0.003" in done.stdout
    assert [line["force"] for line in sim.lookups()] == [False, False, True]
    assert sim.stats()["lookups_paid"] == 2


@pytest.mark.parametrize("spelling, country", [
    ("(212) 555-1234", "US"), ("212.555.1234", "US"), ("12125551234", "US"), ("+1 212 555 1234", "GB"),
    ("tel:+1-212-555-1234", "US"), ("２１２ ５５５ １２３４", "US")])
def test_any_spelling(command, sim, spelling, country):
    done = command("validate", spelling, config={"defaults": {"country": country}})
    assert done.returncode == 0 and list(table(done.stdout)) == [OK], done
    assert [line["phone"] for line in sim.lookups()] == [OK]


def test_the_configured_country(command, sim):
    done = command("validate", "020 7946 0000", config={"defaults": {"country": "GB"}})
    assert table(done.stdout)["+442079460000"][4] == "GB"
    assert [line["phone"] for line in sim.lookups()] == ["+442079460000"]


def test_json_lines(command, sim):
    """The API's fields, canonical, one object a line in the order of the phones; the sum elsewhere."""
    sim.phone(VOIP, disposition="risky", line_type="voip", carrier="Éire", carrier_raw="É", city="Köln", ported=True)
    done = command("validate", "212-555-9002", OK, "--json")
    assert done.returncode == 0, done
    voip, usual = json_lines(done.stdout)
    assert list(usual) == FIELDS and list(voip) == [*FIELDS, "input"]
    assert (voip["phone"], voip["input"], voip["city"], voip["ported"]) == (VOIP, "212-555-9002", "Köln", True)
    assert '"cost":0.003,' in done.stdout, "no digit that was not meant"
    assert done.stderr == "2 phones looked up, 2 paid for: $0.006\n"


def test_json_of_what_went_wrong(command, sim):
    done = command("validate", "--json", "a\"b\\", OK, NO_PROVIDER)
    assert done.returncode == UNAVAILABLE
    nothing, usual, failed = json_lines(done.stdout)
    assert nothing == {"error": "not a phone number", "code": "invalid_phone", "input": "a\"b\\"}
    assert usual["disposition"] == "ok"
    assert (failed["phone"], failed["code"]) == (NO_PROVIDER, "provider_error") and "provider" in failed["error"]


def test_input_that_is_not_utf8(command):
    raw = subprocess.run(command.arguments("validate", "-", "--json"), input=b"\xff\xfe5\n+12125551234\n", capture_output=True,
                         env=clean_environment(), timeout=30, check=False)
    assert raw.returncode == NOT_A_NUMBER
    assert [json.loads(line).get("code") for line in raw.stdout.decode().splitlines()] == ["invalid_phone", None]


# ---- validate: where the phones come from

def test_standard_input(command, sim):
    done = command("validate", "-", stdin=f"{OK}\r\n\n   \n  {FIXED}  \n212-555-9002")
    assert done.returncode == 0 and list(table(done.stdout)) == [OK, FIXED, VOIP], done
    done = command("validate", RISKY, "-", INVALID, stdin=f"{OK}\n")
    assert list(table(done.stdout)) == [RISKY, OK, INVALID]
    assert sim.stats()["lookups_paid"] == 5


def test_nothing_on_standard_input(command, sim):
    done = command("validate", "-", stdin="\n \n")
    assert done.returncode == USAGE and "no phone" in done.stderr
    assert sim.lookups() == []


def test_options_end_at_two_hyphens(command, sim):
    done = command("validate", "--json", "--", "--force", OK)
    assert done.returncode == NOT_A_NUMBER
    assert [line.get("input") for line in json_lines(done.stdout)] == ["--force", None]
    assert [line["force"] for line in sim.lookups()] == [False]


def test_a_phone_given_twice_is_asked_about_once(command, sim):
    done = command("validate", OK, "(212) 555-1234", FIXED, OK, "--force")
    assert list(table(done.stdout)) == [OK, FIXED]
    assert "2 given more than once" in done.stdout
    assert sorted(line["phone"] for line in sim.lookups()) == sorted([OK, FIXED])
    assert sim.stats()["lookups_paid"] == 2


def test_too_many_phones(command, sim):
    done = command("validate", "-", stdin="".join(f"+1212{n:07d}\n" for n in range(100001)))
    assert done.returncode == USAGE and "100000" in done.stderr
    assert sim.lookups() == []


def test_many_phones_a_few_at_a_time(command, sim):
    """Bounded concurrency, every phone once, the order kept."""
    phones = [f"+1212555{n:04d}" for n in range(300)]
    sim.latency(20)
    done = command("validate", "-", "--json", stdin="\n".join(phones))
    assert done.returncode == 0, done
    assert [line["phone"] for line in json_lines(done.stdout)] == phones
    assert sorted(line["phone"] for line in sim.lookups()) == phones
    assert 4 <= most_at_once(sim) <= AT_ONCE
    assert done.stderr == "300 phones looked up, 300 paid for: $0.900\n", "a progress line is for terminals"
    done = command("validate", *phones[:40], config={"contacts_api": {"max_in_flight": 2}})
    assert done.returncode == 0 and len({line["conn"] for line in sim.lookups()[300:]}) <= 2


# ---- validate: what goes wrong

def test_what_is_not_a_number_is_65_and_not_asked(command, sim):
    done = command("validate", "abc", "555-1234", "", "+1212555123456789")
    assert done.returncode == NOT_A_NUMBER
    assert [row[0] for row in table(done.stdout).values()] == ["not a number"] * 4
    assert sim.stats()["connections"] <= 1 and sim.lookups() == []
    done = command("validate", "abc", OK)
    assert done.returncode == NOT_A_NUMBER and table(done.stdout)[OK][0] == "ok"
    assert "1 phone looked up, 1 paid for: $0.003, 1 not a number" in done.stdout


def test_a_number_that_the_api_refuses_is_65(command, sim):
    sim.fault({"status": 400, "error": "phone is not a phone number", "code": "invalid_phone"}, op="validate", phone=OK)
    done = command("validate", OK, FIXED)
    assert done.returncode == NOT_A_NUMBER
    assert [row[0] for row in table(done.stdout).values()] == ["not a number", "unreachable"]
    assert len(sim.lookups()) == 2, "that answer does not change by asking again"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_77_and_ends_it(command, sim, status):
    sim.fault({"status": status, "error": "No", "code": "invalid_api_key"}, op="validate")
    done = command("validate", *[f"+1212555{n:04d}" for n in range(200)])
    assert done.returncode == REFUSED
    assert "key" in done.stderr and "No" in done.stderr and "not asked" in done.stdout
    assert len(sim.lookups()) <= AT_ONCE


def test_a_key_that_nobody_knows_is_77(command):
    command.key_file.write_text("trk_00000000000000000000000000000000\n")
    done = command("validate", OK)
    assert done.returncode == REFUSED and "invalid_api_key" in done.stderr


@pytest.mark.parametrize("code", ["no_billing_config", "no_payment_method", "payment_failed", "suspended"])
def test_402_says_so_and_ends_it(command, sim, code):
    sim.billing(code)
    done = command("validate", *[f"+1212555{n:04d}" for n in range(200)])
    assert done.returncode == UNAVAILABLE
    assert "billing" in done.stderr and code in done.stderr and len(done.stderr.splitlines()) == 1
    assert len(sim.lookups()) <= AT_ONCE, "every other one would be refused as well"
    assert "paid for: $0.000" in done.stdout


def test_what_passes_is_tried_again(command, sim):
    sim.fault({"status": 503, "error": "x", "code": "provider_error"}, op="validate", phone=OK, count=2)
    sim.fault({"status": 500, "error": "x", "code": "internal_error"}, op="validate", phone=FIXED, count=1)
    sim.fault({"kind": "close"}, op="validate", phone=VOIP, count=1)
    sim.fault({"kind": "garbage"}, op="validate", phone=RISKY, count=1)
    sim.fault({"kind": "wrong_contact"}, op="validate", phone=INVALID, count=1)
    sim.fault({"kind": "success_false"}, op="validate", phone=UNKNOWN, count=1)
    done = command("validate", OK, FIXED, VOIP, RISKY, INVALID, UNKNOWN)
    assert done.returncode == 0 and done.stderr == "", done
    assert [row[0] for row in table(done.stdout).values()] == ["ok", "unreachable", "unreachable", "risky", "invalid", "unknown"]
    assert len(sim.lookups()) == 13


def test_429_is_waited_for_by_all(command, sim):
    sim.fault({"status": 429, "error": "slow down", "code": "rate_limited", "headers": {"Retry-After": "1"}}, op="validate",
              count=1)
    done = command("validate", OK, FIXED, VOIP, config={"contacts_api": {"max_in_flight": 1}})
    assert done.returncode == 0, done
    first, second, *_ = sim.lookups()
    assert second["at_us"] - first["at_us"] >= 1_000_000


def test_a_provider_that_stays_away_is_69(command, sim):
    done = command("validate", OK, NO_PROVIDER)
    assert done.returncode == UNAVAILABLE
    assert [row[0] for row in table(done.stdout).values()] == ["ok", "failed"]
    assert f"{masked(NO_PROVIDER)}: provider_error" in done.stderr and NO_PROVIDER not in done.stderr
    assert len(sim.lookups(phone=NO_PROVIDER)) == 4, "retry.inline_attempts"


def test_a_forced_lookup_of_unknown_fate_is_not_repeated(command, sim):
    """It may have been paid for; asked again it would be paid for twice."""
    sim.fault({"kind": "close", "at": "in_body"}, op="validate", phone=OK)
    done = command("validate", OK, FIXED, "--force")
    assert done.returncode == UNAVAILABLE
    assert "may have been paid for" in done.stderr and "connection_lost" in done.stderr
    assert len(sim.lookups(phone=OK)) == 1 and sim.stats()["lookups_paid"] == 2
    sim.clear_faults()
    assert table(command("validate", OK).stdout)[OK][-2:] == ["$0.000", "yes"]


def test_an_api_that_is_away_is_69_and_ends_it(command, sim):
    nobody = f"http://127.0.0.1:{free_port()}/api/v1"
    done = command("validate", *[f"+1212555{n:04d}" for n in range(200)], config={"contacts_api": {"validation_url": nobody}})
    assert done.returncode == UNAVAILABLE
    assert "connect_failed" in done.stderr and len(done.stderr.splitlines()) == 1
    assert "not asked" in done.stdout and sim.stats()["connections"] <= 1, "the other host is not asked instead"


def test_a_wrong_address_is_78(command, sim):
    sim.fault({"kind": "redirect", "location": "http://127.0.0.1:1/elsewhere"}, op="validate")
    done = command("validate", OK)
    assert done.returncode == CONFIG and "contacts_api.validation_url" in done.stderr


def test_garbage_for_everybody_is_69(command, sim):
    sim.fault({"kind": "html_body"}, op="validate")
    done = command("validate", OK, FIXED)
    assert done.returncode == UNAVAILABLE and "broken_body" in done.stderr
    assert [row[0] for row in table(done.stdout).values()] == ["failed", "failed"]


def test_interrupted_it_shows_what_it_has(command, sim):
    phones = [f"+1212555{n:04d}" for n in range(400)]
    sim.latency(50)
    process = subprocess.Popen(command.arguments("validate", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=clean_environment())
    process.stdin.write("\n".join(phones))
    process.stdin.close()
    process.stdin = None
    wait_until(lambda: sim.stats()["calls"]["validate"]["answered"] >= 20, 20, "twenty answers")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == TRY_AGAIN and err == "", err
    states = [row[0] for row in table(out).values()]
    assert len(states) == 400 and states.count("ok") >= 20 and states.count("not asked") >= 100
    assert states.count("ok") == sim.stats()["lookups_paid"], "what was paid for is shown"


# ---- validate: on a terminal

class Terminal:
    """The command with a terminal for all three descriptors."""

    def __init__(self, arguments):
        self.fd, slave = pty.openpty()
        self.process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                        env=clean_environment({"TERM": "xterm"}))
        os.close(slave)
        self.text = ""

    def read_until(self, enough):
        def step():
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode()
                except OSError:
                    return True
            return enough(self.text)
        wait_until(step, 30, lambda: self.text)

    def say(self, text):
        os.write(self.fd, text.encode())

    def finish(self):
        self.read_until(lambda _: False)
        os.close(self.fd)
        return self.process.wait(30)


def test_a_terminal_has_colours_and_progress(command, sim):
    sim.latency(30)
    terminal = Terminal(command.arguments("validate", INVALID, *[f"+1212555{n:04d}" for n in range(60)], "--yes"))
    assert terminal.finish() == 0
    assert "looking phones up [" in terminal.text and "%" in terminal.text
    assert "\033[31m" in terminal.text and "[y/N]" not in terminal.text


def test_a_few_phones_need_no_progress(command):
    terminal = Terminal(command.arguments("validate", OK, FIXED))
    assert terminal.finish() == 0
    assert "looking phones up" not in terminal.text and "unreachable" in terminal.text


@pytest.mark.parametrize("answer, paid, status", [("n\n", 0, TRY_AGAIN), ("\n", 0, TRY_AGAIN), ("y\n", 30, 0)])
def test_many_phones_are_asked_for_on_a_terminal(command, sim, answer, paid, status):
    terminal = Terminal(command.arguments("validate", *[f"+1212555{n:04d}" for n in range(30)]))
    terminal.read_until(lambda text: "[y/N]" in text)
    assert "30 phones" in terminal.text and "$0.090" in terminal.text
    assert sim.lookups() == []
    terminal.say(answer)
    assert terminal.finish() == status
    assert sim.stats()["lookups_paid"] == paid


# ---- contact

def upsert(sim, phone=OK, list_number=LIST, **fields):
    """As the worker would."""
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=10)
    connection.request("POST", "/api/v2/contacts", json.dumps({"phone_number": phone, "list_number": list_number, **fields}),
                       {"X-Api-Key": sim.key, "Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status in (200, 201), response.read()
    response.read()
    connection.close()


def test_contact_shows_lists_and_fields(command, sim):
    upsert(sim, signup_date="2025-03-15T14:30:00Z", custom_fields={"first_name": "Åsa", "score": 0.1, "vip": True})
    upsert(sim, list_number=OTHER_LIST, signup_date="2024-01-02T03:04:05Z")
    sim.control("POST", "/_sim/contact", {"phone": OK, "list": OTHER_LIST, "active": False})
    before = sim.stats()
    done = command("contact", "(212) 555-1234")
    assert done.returncode == 0 and done.stderr == "", done
    facts, lists, fields = done.stdout.split("\n\n")
    assert facts.splitlines()[0].split() == ["phone", OK] and "carrier" in facts and "CELL PHONE" not in facts
    rows = table(lists)
    assert rows[LIST] == ["active", "2025-03-15T14:30:00", "0", "0"]
    assert rows[OTHER_LIST] == ["unsubscribed", "2024-01-02T03:04:05", "0", "0"]
    assert [line.split()[1:] for line in fields.splitlines()[1:]] == [["first_name", "Åsa"], ["score", "0.1"], ["vip", "true"]]
    after = sim.stats()
    assert after["calls"]["upsert"] == before["calls"]["upsert"] and after["lookups_paid"] == 0, "reading changes nothing"
    line, = sim.book("received", op="read")
    assert line["path"] == "/api/v2/contacts/%2B12125551234"


def test_contact_json_is_what_the_api_says(command, sim):
    upsert(sim, custom_fields={"a": "é\"", "n": 0.1, "i": 7, "b": False}, use_validation=True)
    done = command("contact", OK, "--json")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1
    contact = json.loads(done.stdout)
    assert list(contact) == ["phone_number", "carrier", "line_type", "timezone", "is_valid", "lists"]
    assert (contact["phone_number"], contact["line_type"], contact["is_valid"]) == (OK, "CELL PHONE", True)
    one, = contact["lists"]
    assert list(one) == ["list_id", "list_number", "active", "signup_date", "custom_fields", "send_count", "click_count"]
    assert one["custom_fields"] == {"a": "é\"", "n": 0.1, "i": 7, "b": False} and one["list_number"] == LIST
    assert '"n":0.1,' in done.stdout


def test_a_contact_that_nobody_knows_is_1(command, sim):
    done = command("contact", OK)
    assert (done.returncode, done.stdout, done.stderr) == (1, f"the API does not know {OK}\n", "")
    done = command("contact", OK, "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["code"] == "not_found"
    sim.fault({"status": 404, "body": "<html>Not Found</html>"}, op="read")
    assert command("contact", OK).returncode == UNAVAILABLE, "that is not the API's word"


def test_contact_on_no_list(command, sim):
    sim.fault({"status": 200, "body": json.dumps({"phone_number": OK, "lists": []})}, op="read")
    done = command("contact", OK)
    assert done.returncode == 0 and "on no list" in done.stdout


@pytest.mark.parametrize("action, status, words, calls", [
    ({"status": 401, "error": "Bad key", "code": "unauthorized"}, REFUSED, ["key", "Bad key"], 1),
    ({"status": 403, "error": "Account is suspended"}, REFUSED, ["suspended"], 1),
    ({"status": 400, "error": "no", "code": "invalid_phone"}, NOT_A_NUMBER, ["invalid_phone"], 1),
    ({"status": 500, "error": "x", "code": "internal_error"}, UNAVAILABLE, ["internal_error"], 4),
    ({"kind": "close"}, UNAVAILABLE, ["connection_lost"], 4),
    ({"kind": "html_body"}, UNAVAILABLE, ["broken_body"], 4),
    ({"kind": "wrong_contact"}, UNAVAILABLE, ["wrong_contact"], 4),
    ({"kind": "redirect", "location": "http://127.0.0.1:1/x"}, CONFIG, ["contacts_api.base_url"], 1),
], ids=lambda value: str(value.get("kind", value.get("status"))) if isinstance(value, dict) else "")
def test_contact_failures(command, sim, action, status, words, calls):
    upsert(sim)
    sim.fault(action, op="read")
    done = command("contact", OK)
    assert done.returncode == status and done.stdout == "", done
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in words), done.stderr
    assert len(sim.book("received", op="read")) == calls


def test_contact_is_tried_again(command, sim):
    upsert(sim)
    sim.fault({"status": 503, "error": "x"}, op="read", count=2)
    assert command("contact", OK).returncode == 0
    assert len(sim.book("received", op="read")) == 3


def test_contact_of_no_number_is_65(command, sim):
    done = command("contact", "abc")
    assert done.returncode == NOT_A_NUMBER and "abc" in done.stderr
    done = command("contact", "+1 212 555 12345678")
    assert done.returncode == NOT_A_NUMBER and "5678" not in done.stderr, "somebody's phone, with a slip"
    assert sim.book("received") == []


# ---- both

@pytest.mark.parametrize("name, op", [("contact", "read"), ("validate", "validate")])
def test_phones_are_not_in_the_process_list(command, sim, name, op):
    """While the command waits for its answer, its line in the process list holds no digit of the phone."""
    sim.fault({"kind": "hang"}, op=op)
    process = subprocess.Popen(command.arguments(name, OK), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=clean_environment())
    wait_until(lambda: sim.book("received", op=op), 20, "the question")
    with open(f"/proc/{process.pid}/cmdline", encoding="utf-8") as file:
        line = file.read().split("\0")
    process.kill()
    process.communicate()
    assert line[1] == name and "*" * len(OK) in line and not any(OK[2:] in word for word in line), line


@pytest.mark.parametrize("stdin, status", [(OK + "\n", 0), ("  (212) 555-1234\r\n", 0), ("", NO_INPUT),
                                           (" " * 250 + OK + "\n", NOT_A_NUMBER)],
                         ids=["E.164", "as typed", "nothing", "too long"])
def test_contact_of_standard_input(command, sim, stdin, status):
    """"-" is a line of standard input, for who does not want a phone in the shell's history."""
    upsert(sim)
    done = command("contact", "-", stdin=stdin)
    assert done.returncode == status, done
    assert (OK in done.stdout) == (status == 0)


def test_they_need_the_key_alone(sim):
    """No configuration file, no Kafka, no PostgreSQL: two addresses and the key."""
    environment = {"SIGNUP_CONTACTS_API_BASE_URL": sim.base_url(), "SIGNUP_CONTACTS_API_VALIDATION_URL": sim.validation_url(),
                   "SIGNUP_CONTACTS_API_KEY": sim.key, "SIGNUP_KAFKA_BROKERS": "127.0.0.1:1",
                   "SIGNUP_POSTGRES_DSN": "postgresql://127.0.0.1:1/none"}
    for name, status in (("validate", 0), ("contact", 1)):
        done = subprocess.run([find_binary("signup-worker"), name, OK], capture_output=True, text=True, check=False,
                              env=clean_environment(environment), timeout=30)
        assert done.returncode == status, done
    environment.pop("SIGNUP_CONTACTS_API_KEY")
    done = subprocess.run([find_binary("signup-worker"), "validate", OK], capture_output=True, text=True, check=False,
                          env=clean_environment(environment), timeout=30)
    assert done.returncode == CONFIG and "key" in done.stderr


# ---- check

NOWHERE = {"kafka": {"brokers": "127.0.0.1:1"}, "postgres": {"dsn": "postgresql://127.0.0.1:1/none"}}


def check_lines(done):
    """{subject: (mark, text)}"""
    return {line.split()[1]: (line.split()[0], line.split(None, 2)[2]) for line in done.stdout.splitlines()}


@pytest.mark.parametrize("changes, asked", [
    ({"validation": {"mode": "off"}}, False), ({"validation": {"mode": "inline"}}, False),
    ({"validation": {"mode": "gate"}}, True), ({"validation": {"lists": {LIST: "gate", OTHER_LIST: "inline"}}}, True),
    ({"validation": {"lists": {LIST: "inline"}}}, False), ({"routes": [{"list_number": LIST, "validation": "gate"}]}, True),
    ({"routes": [{"list_number": LIST, "validation": "inline"}]}, False)], ids=json.dumps)
def test_check_asks_the_validation_host_where_the_gate_does(command, sim, changes, asked):
    lines = check_lines(command("check", config=merge(NOWHERE, changes)))
    assert lines["contacts_api"][0] == "ok"
    assert ("validation" in lines) is asked
    if asked:
        assert lines["validation"][0] == "ok" and "knows the key" in lines["validation"][1]
    assert len(sim.lookups()) == asked
    assert sim.stats()["lookups_paid"] == sim.stats()["lookups_cached"] == 0, "it costs nothing"


@pytest.mark.parametrize("action, word", [
    ({"status": 401, "error": "Invalid API key", "code": "invalid_api_key"}, "key"),
    ({"status": 402, "error": "Pay", "code": "no_payment_method"}, "billing"),
    ({"status": 503, "error": "x", "code": "provider_error"}, "later"),
    ({"kind": "html_body"}, "contacts_api.validation_url"),
    ({"kind": "close"}, "contacts_api.validation_url")], ids=["401", "402", "503", "a page", "closed"])
def test_check_says_what_is_wrong_with_validation(command, sim, action, word):
    sim.fault(action, op="validate")
    done = command("check", config=merge(NOWHERE, {"validation": {"mode": "gate"}}))
    lines = check_lines(done)
    assert lines["contacts_api"][0] == "ok" and lines["validation"][0] == "NO"
    assert word in lines["validation"][1]
    assert done.returncode == {"401": REFUSED}.get(str(action.get("status")),
                                                   CONFIG if action.get("kind") == "html_body" else UNAVAILABLE)
