#!/usr/bin/python3
"""The schema and the decoder agree: what the one takes the other sends whole, what the one refuses the other
kills or drops.

The decoder is asked through event-judge (event_judge.c), which SIGNUP_EVENT_JUDGE names or which
stands in a build folder beside the sources.
"""
import json
import os
import pathlib
import subprocess

import jsonschema
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "schemas" / "signup-event.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
BODY_FIELDS = set(SCHEMA["properties"]) - {"event_id", "phone", "consent", "attribution"}

KEY = {"phone_number": "4155551234", "list_number": "8335550100"}

FLAGS = ("use_journeys", "skip_journey_if_exists", "override_custom_fields", "use_validation", "force")

# What both take.
TAKEN = [
    {"phone": "(415) 555-1234"},
    {"phone": 4155551234},
    {"phone_number": None, "phone": "4155551234"},
    {"phone_number": " ", "phone": "4155551234"},
    {"phone_number": "4155551234", "phone": ""},
    {"phone_number": "+44 20 7946 0958"},
    {"event_id": "a"},
    {"event_id": "x" * 200},
    {"event_id": None},
    {"event_id": "orders:0:1"},
    {"list_number": 8335550100},
    *({flag: value} for flag in FLAGS
      for value in (True, False, "true", "FALSE", "Yes", "no", "1", "0", 1, 0, None)),
    {"signup_date": "2025-03-15T14:30:00Z"},
    {"signup_date": "2025-03-15t14:30:00.25-07:00"},
    {"signup_date": "2025-03-15 14:30"},
    {"signup_date": "2025-03-15 14:30:00 +0200"},
    {"signup_date": "2025-03-15"},
    {"signup_date": "20250315T143000Z"},
    {"signup_date": 1742049000},
    {"signup_date": 1742049000999},
    {"signup_date": 1742049000.5},
    {"signup_date": "1742049000"},
    {"signup_date": " 1742049000999 "},
    {"signup_date": None},
    {"signup_date": "2025-03-15T24:00:00Z"},
    {"signup_date": "2025-03-15T14:30:00 UTC"},
    {"signup_date": "2025-03-15T14.5Z"},
    {"signup_date": "2025-W11-6"},
    {"signup_date": "2025W116T1430Z"},
    {"signup_date": "2025-074"},
    {"signup_date": "2016-12-31T23:59:60Z"},
    {"signup_date": "2025-03-15T14:30:00+01:00[Europe/Rome]"},
    {"signup_date": "2025-03-15 14:30:00 +0000 UTC"},
    {"signup_date": "Sat, 15 Mar 2025 14:30:00 GMT"},
    {"signup_date": "15 Mar 2025 14:30 -0700"},
    {"signup_date": "Sat Mar 15 2025 14:30:00 GMT+0100 (Central European Standard Time)"},
    {"ip_address": "203.0.113.7"},
    {"ip_address": " 203.0.113.7:80 "},
    {"ip_address": "[2001:db8::1]:443"},
    {"ip_address": "2001:db8::1"},
    {"ip_address": "::ffff:203.0.113.7"},
    {"ip_address": "fe80::1%eth0"},
    {"ip_address": None},
    {"url": "https://example.com"},
    {"url": "HTTP://example.com:8080/a b?c#d"},
    {"url": " https://user@example.com./ "},
    {"url": "https://[2001:db8::1]:8443/x"},
    {"url": "https://bücher.example/"},
    {"url": None},
    {"custom_fields": {}},
    {"custom_fields": {"a": "b", "c": 1, "d": 0.1, "e": True, "f": None, "g": ""}},
    {"custom_fields": {" first name\t": "Ada", "é": 1, "x" * 255: 2}},
    {"custom_fields": None},
    {"ad_network_source": "facebook", "ad_network_id": "1"},
    {"ad_network_source": 1, "ad_network_id": 2.5},
    {"ad_network_source": "", "ad_network_id": None},
    {"attribution": {}},
    {"attribution": {"gclid": "x" * 512, "n": 1, "b": False, "z": None}},
    {"attribution": None},
    {"consent": {}},
    {"consent": {"text": "I agree", "shown": [1, {"a": None}]}},
    {"consent": None},
    {"unknown": {"a": [1, 2]}},
    {"Url": 1},
]

# What both refuse: (members, the code of the death or of the warning).
REFUSED = [
    ({"phone_number": None}, "missing_phone_number"),
    ({"phone_number": " "}, "missing_phone_number"),
    ({"phone_number": None, "phone": ""}, "missing_phone_number"),
    ({"phone_number": True}, "invalid_phone"),
    ({"phone_number": 4155551234.5}, "invalid_phone"),
    ({"phone_number": -4155551234}, "invalid_phone"),
    ({"phone_number": ["4155551234"]}, "invalid_phone"),
    ({"phone_number": {"n": "4155551234"}, "phone": "4155551234"}, "invalid_phone"),
    ({"list_number": False}, "invalid_list_number"),
    ({"list_number": {}}, "invalid_list_number"),
    ({"event_id": ""}, "invalid_event_id"),
    ({"event_id": "x" * 201}, "invalid_event_id"),
    ({"event_id": 7}, "invalid_event_id"),
    ({"event_id": []}, "invalid_event_id"),
    *(({flag: value}, "invalid_field")
      for flag in FLAGS
      for value in ("", "maybe", "on", " true", 2, -1, [], {})),
    ({"signup_date": "last week"}, "signup_date_unusable"),
    ({"signup_date": ""}, "signup_date_unusable"),
    ({"signup_date": "2025-13-01"}, "signup_date_unusable"),
    ({"signup_date": "2025-03-15T24:01:00Z"}, "signup_date_unusable"),
    ({"signup_date": "2025-03-15T14:30:00 EST"}, "signup_date_unusable"),
    ({"signup_date": "2025-03-15T14:30:00[Europe/Rome]"}, "signup_date_unusable"),
    ({"signup_date": "2025-W11"}, "signup_date_unusable"),
    ({"signup_date": "2025-03"}, "signup_date_unusable"),
    ({"signup_date": "25-03-15"}, "signup_date_unusable"),
    ({"signup_date": "03/15/2025"}, "signup_date_unusable"),
    ({"signup_date": "15 Mar 2025 14:30:00"}, "signup_date_unusable"),
    ({"signup_date": "Saturday, 15-Mar-25 14:30:00 GMT"}, "signup_date_unusable"),
    ({"signup_date": "Sat, 15 Mar 2025 14:30:00 EST"}, "signup_date_unusable"),
    ({"signup_date": True}, "signup_date_unusable"),
    ({"signup_date": {}}, "signup_date_unusable"),
    ({"signup_date": 10**16}, "signup_date_unusable"),
    ({"ip_address": "unknown"}, "field_dropped"),
    ({"ip_address": ""}, "field_dropped"),
    ({"ip_address": "203.0.113.7, 198.51.100.1"}, "field_dropped"),
    ({"ip_address": "203.0.113.7/24"}, "field_dropped"),
    ({"ip_address": 1}, "field_dropped"),
    ({"url": "example.com"}, "field_dropped"),
    ({"url": ""}, "field_dropped"),
    ({"url": "https://"}, "field_dropped"),
    ({"url": "https:///path"}, "field_dropped"),
    ({"url": "https://a..b/"}, "field_dropped"),
    ({"url": "https://exa mple.com/"}, "field_dropped"),
    ({"url": "ftp://example.com/"}, "field_dropped"),
    ({"url": "https://example.com/a\nb"}, "field_dropped"),
    ({"url": False}, "field_dropped"),
    ({"custom_fields": []}, "field_dropped"),
    ({"custom_fields": "a=b"}, "field_dropped"),
    ({"custom_fields": {"a": {}}}, "field_dropped"),
    ({"custom_fields": {"a": [1], "b": 2}}, "field_dropped"),
    ({"custom_fields": {"": 1, "b": 2}}, "field_dropped"),
    ({"custom_fields": {" \t": 1, "b": 2}}, "field_dropped"),
    ({"custom_fields": {"a\tb": 1, "b": 2}}, "field_dropped"),
    ({"custom_fields": {"x" * 256: 1, "b": 2}}, "field_dropped"),
    ({"attribution": "gclid"}, "field_dropped"),
    ({"attribution": {"a": {}}}, "field_dropped"),
    ({"attribution": {"": 1}}, "field_dropped"),
    ({"attribution": {"a": "x" * 513}}, "field_dropped"),
    ({"ad_network_source": True}, "field_dropped"),
    ({"ad_network_id": {}}, "field_dropped"),
    ({"consent": "yes"}, "field_dropped"),
    ({"consent": []}, "field_dropped"),
]

# What a schema cannot say, and its description does: (members, code).
BEYOND = [
    ({"phone_number": "5551234"}, "invalid_phone"),
    ({"phone_number": "call me"}, "invalid_phone"),
    ({"list_number": "12"}, "invalid_list_number"),
    ({"list_number": None}, "missing_list_number"),
    ({"event_id": "é" * 101}, "invalid_event_id"),
    ({"event_id": "signups:0:1"}, "invalid_event_id"),
    ({"signup_date": "2025-02-29"}, "signup_date_unusable"),
    ({"signup_date": "2099-01-01"}, "signup_date_unusable"),
    ({"signup_date": "2021-W53-1"}, "signup_date_unusable"),
    ({"signup_date": "2025-366"}, "signup_date_unusable"),
    ({"signup_date": "2025-03-15T14:30:60Z"}, "signup_date_unusable"),
    ({"signup_date": "Sun, 15 Mar 2025 14:30:00 GMT"}, "signup_date_unusable"),
    ({"phone_number": "4155551234 x77"}, "field_dropped"),
    ({"phone_number": "2025-03-15"}, "invalid_phone"),
    ({"custom_fields": {"é" * 128: 1, "b": 2}}, "field_dropped"),
    ({"attribution": {"é": "é" * 257}}, "field_dropped"),
    ({"ip_address": "203.0.113.256"}, "field_dropped"),
    ({"url": "https://example.com:99999/"}, "field_dropped"),
    ({"custom_fields": {"a": "x" * 4000}}, "payload_too_large"),
]

# Whole values that are no events.
NO_OBJECTS = [([], "not_an_object"), ("text", "not_an_object"), (1, "not_an_object"), (None, "not_an_object")]


def judge_path():
    named = os.environ.get("SIGNUP_EVENT_JUDGE")
    if named:
        return named
    built = sorted(ROOT.glob("build*/**/event-judge"), key=lambda path: path.stat().st_mtime)
    assert built, "build event-judge first, or name it in SIGNUP_EVENT_JUDGE"
    return str(built[-1])


def judge(lines):
    answer = subprocess.run([judge_path()], input="".join(line + "\n" for line in lines).encode(),
                            stdout=subprocess.PIPE, check=True, timeout=60)
    verdicts = [json.loads(line) for line in answer.stdout.decode().splitlines()]
    assert len(verdicts) == len(lines)
    return verdicts


@pytest.fixture(scope="module")
def verdict_of():
    events = [KEY | row for row in TAKEN if "phone" not in row]
    events += [{"list_number": "8335550100"} | row for row in TAKEN if "phone" in row]
    events += [KEY | row for row, _ in REFUSED + BEYOND]
    events += [value for value, _ in NO_OBJECTS] + SCHEMA["examples"]
    lines = sorted({json.dumps(event) for event in events})
    return dict(zip(lines, judge(lines)))


def codes(verdict):
    return [verdict["death"]] * bool(verdict["death"]) + [warning["code"] for warning in verdict["warnings"]]


def name(row):
    return json.dumps(row)[:60]


def test_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("row", TAKEN, ids=name)
def test_both_take(row, verdict_of):
    event = ({"list_number": "8335550100"} if "phone" in row else KEY) | row
    assert VALIDATOR.is_valid(event)
    verdict = verdict_of[json.dumps(event)]
    assert codes(verdict) == []
    assert set(verdict["body"]) <= BODY_FIELDS
    # What was sent is an event itself.
    assert VALIDATOR.is_valid(verdict["body"])


@pytest.mark.parametrize("row,code", REFUSED, ids=name)
def test_both_refuse(row, code, verdict_of):
    event = KEY | row
    assert not VALIDATOR.is_valid(event)
    verdict = verdict_of[json.dumps(event)]
    assert codes(verdict) == [code]
    if not verdict["death"]:
        assert VALIDATOR.is_valid(verdict["body"])


@pytest.mark.parametrize("row,code", BEYOND, ids=name)
def test_beyond_a_schema(row, code, verdict_of):
    event = KEY | row
    assert VALIDATOR.is_valid(event)
    assert codes(verdict_of[json.dumps(event)]) == [code]


@pytest.mark.parametrize("value,code", NO_OBJECTS, ids=name)
def test_no_objects(value, code, verdict_of):
    assert not VALIDATOR.is_valid(value)
    assert codes(verdict_of[json.dumps(value)]) == [code]


@pytest.mark.parametrize("event", SCHEMA["examples"], ids=name)
def test_examples(event, verdict_of):
    assert VALIDATOR.is_valid(event)
    assert codes(verdict_of[json.dumps(event)]) == []


def test_every_field_is_in_some_row():
    spoken_of = set().union(*TAKEN, *(row for row, _ in REFUSED + BEYOND))
    assert set(SCHEMA["properties"]) <= spoken_of
