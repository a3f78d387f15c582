"""signup-worker explain: one payload from bytes to request, by the real program and its configuration, without any server."""
import json
import os
import pathlib
import pty
import subprocess

import pytest

from signup_harness import find_binary
from signup_harness.process import clean_environment
from signups import REPOSITORY

USAGE, DEAD, NO_INPUT, CONFIG = 64, 65, 66, 78
SAMPLES = pathlib.Path(REPOSITORY) / "deploy" / "samples" / "shapes"
SHAPES = SAMPLES / "shapes.yaml"
SECRET = "a-secret-that-is-never-kept"

pytestmark = pytest.mark.sanitized


def explain(*arguments, stdin=None, config=SHAPES, environment=None):
    return subprocess.run([find_binary("signup-worker"), "explain", *map(str, arguments), "--config", str(config)], input=stdin,
                          capture_output=True, env=clean_environment(environment), timeout=30, check=False)


def explained(*arguments, code=0, **how):
    """The object that --json gives."""
    done = explain(*arguments, "--json", **how)
    assert done.returncode == code, done.stderr
    assert done.stderr == b""
    return json.loads(done.stdout)


def origins(told):
    return {step["field"]: (step["value"], step["from"]) for step in told["steps"] if step["step"] == "field"}


def headers_of(path):
    return [part for line in path.read_text(encoding="utf-8").splitlines() for part in ("--header", line)]


# --- the samples ---

# Topic, file, event id, what the request must hold, what `field` steps must tell.
ALIVE = [
    ("signups", "api.json", "lp-2026-05-30-000184",
     {"phone_number": "+14155550132", "list_number": "+18005550100", "signup_date": "2026-05-31T00:42:08Z"},
     {"phone_number": ("(415) 555-0132", "field phone_number")}),
    ("partner", "json.json", "summer-popup-90417",
     {"phone_number": "+15035550148", "ad_network_source": "facebook", "ad_network_id": "120214889",
      "custom_fields": {"email": "teodora@example.com", "favorite_board": "longboard", "first_name": "Teodora Anne",
                        "last_name": "Lindqvist", "newsletter": False, "visits": 3}},
     {"event_id": ("summer-popup-90417", "join of /form, /submission/id"), "list_number": None,
      "ad_network_source": ("facebook", "lowercase of /utm/source"),
      "custom_fields.visits": ("3", "unmapped: /visits")}),
    ("clicks", "cloudevents.json", "https://forms.example.com/landing/spring|5f1c2a9e-77d0-4a53-9a52-0e4c1f3b2a10",
     {"phone_number": "+12125550119", "signup_date": "2026-05-30T18:20:11Z", "ad_network_source": "adwords"},
     {"custom_fields.form": ("https://forms.example.com/landing/spring", "header ce_source"),
      "signup_date": ("2026-05-30T18:20:11.482Z", "profile cloudevents: time")}),
    ("registry", "confluent_json.bin", "lp-2026-05-30-000184", {"phone_number": "+14155550132"}, {}),
    ("meta", "meta_lead_ads.json", "meta:1203948576012345",
     {"phone_number": "+16195550164", "ad_network_source": "facebook", "ad_network_id": "23861234567890001"},
     {"phone_number": ("+16195550164", "profile meta_lead_ads: /fields/phone_number"),
      "ad_network_source": ("facebook", "constant"), "attribution.platform": ("ig", "profile meta_lead_ads: /platform"),
      "custom_fields.first_name": ("Dana", "first name of /fields/full_name")}),
    ("google", "google_lead_form.json", "google:TmV3TGVhZC1zYW1wbGUtMDAwMQ",
     {"phone_number": "+13035550190", "ad_network_source": "adwords", "signup_date": "2026-05-30T19:30:45Z"},
     {"custom_fields.postal_code": ("80202", "profile google_lead_form: /fields/POSTAL_CODE"),
      "attribution.gclid": ("EAIaIQobChMIsample-gclid_BwE", "profile google_lead_form: /gcl_id")}),
    ("tiktok", "tiktok_lead.json", "tiktok:7306789012345678901",
     {"phone_number": "+13105550155", "ad_network_source": "tiktok", "signup_date": "2026-05-30T19:00:00Z"},
     {"ad_network_id": ("1789012345678901", "profile tiktok_lead: /entry/0/campaign_id")}),
    ("forms", "form.txt", "wf-77120",
     {"phone_number": "+12065550183", "use_journeys": True, "ad_network_source": "facebook",
      "custom_fields": {"first_name": "Zo\u00eb", "last_name": "Park"}},
     {"phone": ("(206) 555-0183", "field phone")}),
]


@pytest.mark.parametrize("topic, file, event_id, request_has, fields", ALIVE, ids=[row[1] for row in ALIVE])
def test_sample_would_be_sent(topic, file, event_id, request_has, fields):
    """Every sample under deploy/samples/shapes is read by the topic of its profile, and each field says where it came from."""
    told = explained(SAMPLES / file, "--topic", topic, "--timestamp", "2026-05-31T12:00:00Z")
    assert told["would_be_sent"] is True and told["death"] is None
    assert told["event_id"] == event_id and told["event_id_from_position"] is False
    assert {name: told["request"][name] for name in request_has} == request_has
    found = origins(told)
    assert {name: found.get(name) for name in fields} == fields
    assert [step["step"] for step in told["steps"]][:2] == ["bytes", "shape"]
    assert told["schema_id"] == (391 if topic == "registry" else None)
    assert SECRET not in json.dumps(told)


def test_sample_in_binary_mode():
    """CloudEvents in binary mode needs its headers; without them the record is no CloudEvent."""
    path = SAMPLES / "cloudevents_binary.json"
    told = explained(path, "--topic", "clicks", *headers_of(SAMPLES / "cloudevents_binary.headers"))
    assert told["event_id"] == "/forms/autumn|A234-1234-1234"
    assert told["request"]["signup_date"] == "2026-05-29T07:15:00Z"
    assert told["steps"][0]["value"].endswith("6 headers")
    assert told["steps"][1] == {"step": "shape", "field": "", "value": "cloudevents", "from": "binary mode"}
    told = explained(path, "--topic", "clicks", code=DEAD)
    assert told["death"]["code"] == "malformed_payload" and "ce_specversion" in told["death"]["message"]


@pytest.mark.parametrize("topic, file, code, words", [
    ("meta", "meta_lead_ads_webhook.json", "malformed_payload", "Fetch the lead"),
    ("google", "google_lead_form_test.json", "test_lead", "not a person"),
    ("meta", "google_lead_form.json", "malformed_payload", "field_data"),
    ("google", "tiktok_lead.json", "malformed_payload", "user_column_data"),
    ("tiktok", "meta_lead_ads.json", "malformed_payload", "list entry"),
    ("registry", "api.json", "malformed_payload", "magic byte"),
    ("forms", "api.json", "malformed_payload", "JSON"),
    ("signups", "form.txt", "malformed_json", "not valid JSON"),
    ("signups", "meta_lead_ads.json", "missing_phone_number", "no phone number"),
])
def test_sample_would_be_dead(topic, file, code, words):
    """What is not of the topic's profile is dead with a sentence that helps, exit code 65, and no request."""
    told = explained(SAMPLES / file, "--topic", topic, code=DEAD)
    assert told["would_be_sent"] is False and told["request"] is None
    assert told["death"]["code"] == code and words in told["death"]["message"]
    done = explain(SAMPLES / file, "--topic", topic)
    assert done.returncode == DEAD and f"would be dead of {code}: ".encode() in done.stdout
    assert b"would be sent" not in done.stdout and SECRET.encode() not in done.stdout


# --- what it shows ---

def test_warnings_and_what_was_dropped():
    """A warning is told with its code and the name of what was dropped, in both forms."""
    told = explained(SAMPLES / "json.json", "--topic", "partner")
    assert [(warning["code"], warning["message"].split()[0]) for warning in told["warnings"]] == [("field_dropped", "cart")]
    done = explain(SAMPLES / "json.json", "--topic", "partner")
    assert b"warning       field_dropped: cart was dropped" in done.stdout


def test_table():
    """On a pipe: a table without colour, the phone whole, the request pretty-printed."""
    done = explain(SAMPLES / "meta_lead_ads.json", "--topic", "meta")
    text = done.stdout.decode()
    assert done.returncode == 0 and "\x1b" not in text
    lines = text.splitlines()
    assert lines[0].split() == ["step", "field", "value", "from"]
    assert any(line.split()[:2] == ["phone_number", "+16195550164"] for line in lines)
    assert "would be sent to POST /v2/contacts:" in lines
    body = text[text.index("{\n"):]
    assert json.loads(body)["phone_number"] == "+16195550164"
    assert '\n  "phone_number": "+16195550164",\n' in body


def on_terminal(*arguments, environment=None):
    """What it writes to a terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen([find_binary("signup-worker"), "explain", *map(str, arguments), "--config", str(SHAPES)], stdout=follower,
                          stderr=follower, stdin=subprocess.DEVNULL, env=clean_environment(environment)) as process:
        os.close(follower)
        text = b""
        while True:
            try:
                more = os.read(leader, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not more:
                break
            text += more
        process.wait(timeout=30)
    os.close(leader)
    return text


def test_colour_on_a_terminal_only():
    """Colour on a terminal, unless NO_COLOR asks for none."""
    arguments = (SAMPLES / "api.json", "--topic", "signups")
    assert b"\x1b[" in on_terminal(*arguments, environment={"TERM": "xterm", "NO_COLOR": ""})
    assert b"\x1b[" not in on_terminal(*arguments, environment={"TERM": "xterm", "NO_COLOR": "1"})


def test_payload_does_not_steer_the_terminal():
    """Control characters of a payload reach the terminal as blanks, also those in ids and names."""
    event = {"event_id": "a\x1b[31mb", "phone_number": "4155550132", "custom_fields": {"x\x1b]0;t\x07": []}, "consent": {"t": "\x1b[2J"},
             "url": "\x1b[5m"}
    done = explain("-", "--topic", "signups", stdin=json.dumps(event).encode())
    assert done.returncode == 0 and b"a [31mb" in done.stdout
    assert not set(done.stdout) & (set(range(32)) - {10})


def test_record_time_and_position():
    """The record's time is the signup's where the event has none; without an id the position names it."""
    event = b'{"phone_number": "4155550132"}'
    for given in ("2026-05-01T16:00:00Z", "1777651200123"):
        told = explained("-", "--topic", "signups", "--timestamp", given, stdin=event)
        assert told["request"]["signup_date"] == "2026-05-01T16:00:00Z"
        assert told["event_id"] == "signups:0:0" and told["event_id_from_position"] is True
    done = explain("-", "--topic", "signups", stdin=event)
    assert b"its position" in done.stdout


def test_headers():
    """--header may be given again; the last of a name counts; what is not text is told."""
    arguments = (SAMPLES / "json.json", "--topic", "partner", "--header", "x-gclid=first", "--header", "x-gclid=a=b")
    told = explained(*arguments)
    assert told["attribution"] == {"gclid": "a=b"}
    assert origins(told)["attribution.gclid"] == ("a=b", "header x-gclid")
    told = explained(*arguments, "--header", b"x-gclid=\xff".decode("utf-8", "surrogateescape"))
    assert "the header x-gclid was dropped: it is not text in UTF-8" in [warning["message"] for warning in told["warnings"]]


def test_route(tmp_path):
    """The route that matched is named, with what it chose."""
    config = tmp_path / "routes.yaml"
    config.write_text("""
kafka: {topics: [signups]}
routes:
  - name: elsewhere
    when: {url: "*.example.org/*"}
    list_number: "+18005550199"
  - name: california
    when: {url: "offers.example.com/ca/*"}
    list_number: "+18005550101"
    validation: gate
    custom_fields: {campaign: winter}
""", encoding="utf-8")
    event = b'{"phone_number": "4155550132", "url": "https://offers.example.com/ca/summer"}'
    told = explained("-", stdin=event, config=config)
    assert told["route"] == "california" and told["validation"] == "gate"
    assert told["request"]["list_number"] == "+18005550101"
    assert told["request"]["custom_fields"] == {"campaign": "winter"}
    assert {step["value"] for step in told["steps"] if step["step"] == "route"} >= {"elsewhere", "california"}
    assert b"california" in explain("-", stdin=event, config=config).stdout


def test_empty_and_too_large():
    """Sizes are judged as the worker judges them."""
    assert explained("-", "--topic", "signups", stdin=b"", code=DEAD)["death"]["code"] == "empty_event"
    assert explained("-", "--topic", "signups", stdin=b"x" * 300000, code=DEAD)["death"]["code"] == "event_too_large"


# --- usage ---

@pytest.mark.parametrize("arguments", [
    [], ["a", "b"], ["a", "--nope"], ["a", "--header", "novalue"], ["a", "--header", "=x"], ["a", "--timestamp", "yesterday"],
    ["a", "--timestamp", "-1"], ["a", "--timestamp", "2026-05-01T16:00:00+02:00"], ["a", "--topic", ""]], ids=" ".join)
def test_usage_is_64(arguments):
    done = explain(*arguments)
    assert done.returncode == USAGE and done.stdout == b"" and b"signup-worker" in done.stderr


def test_topic_must_be_configured():
    """A topic that nobody reads would be explained without its mapping: it is a mistake."""
    for arguments in (["--topic", "signup"], []):
        done = explain(SAMPLES / "api.json", *arguments)
        assert done.returncode == USAGE and b"signups, partner" in done.stderr and done.stdout == b""


def test_missing_files_are_66(tmp_path):
    done = explain(tmp_path / "none.json", "--topic", "signups")
    assert done.returncode == NO_INPUT and b"none.json" in done.stderr and done.stdout == b""
    assert explain(SAMPLES, "--topic", "signups").returncode == NO_INPUT
    assert explain(SAMPLES / "api.json", config=tmp_path / "none.yaml").returncode == NO_INPUT


def test_bad_mapping_is_78(tmp_path):
    config = tmp_path / "bad.yaml"
    config.write_text("mapping:\n  signups:\n    profile: json\n    fields:\n      phone_number: contact/phone\n", encoding="utf-8")
    done = explain(SAMPLES / "api.json", config=config)
    assert done.returncode == CONFIG and f"{config}:5: ".encode() in done.stderr and b"JSON pointer" in done.stderr


def test_needs_no_secret(tmp_path):
    """Neither the key's file nor a server need be there."""
    config = tmp_path / "elsewhere.yaml"
    config.write_text("kafka: {brokers: \"127.0.0.1:1\", topics: [signups]}\ncontacts_api: {key_file: /nonexistent/key}\n"
                      "defaults: {list_number: \"+18005550100\"}\n", encoding="utf-8")
    assert explained("-", stdin=b'{"phone": "4155550132"}', config=config)["would_be_sent"] is True


def test_help():
    done = subprocess.run([find_binary("signup-worker"), "explain", "--help"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 and done.stderr == ""
    assert "usage: signup-worker explain" in done.stdout and "examples:" in done.stdout
