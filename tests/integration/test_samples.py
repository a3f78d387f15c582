"""The sample signups of deploy/samples, loaded and read as deploy/samples/quickstart.yaml says: what the quickstart shows."""
import collections
import json

import jsonschema
import pytest

from signup_harness import find_binary, free_port, wait_until
from signup_harness.process import clean_environment, spawn, tail
from signups import REPOSITORY
from test_cli import run

SAMPLES = REPOSITORY / "deploy" / "samples"
CONFIG = SAMPLES / "quickstart.yaml"
LISTS = ["+18335550110", "+18335550120", "+18335550130"]
GATED = LISTS[2]
# Rows by topic: accepted, dead. Of the 720 API bodies 15 are copies of others.
ROWS = {"signups": (637, 68), "leads.meta": (178, 2), "leads.google": (118, 2), "leads.forms": (99, 1),
        "leads.partner": (79, 1)}
REFUSED = {"unreachable": 6, "risky": 3, "invalid": 2}


@pytest.fixture
def lists(sim):
    """The simulated account owns the samples' lists and no others."""
    sim.lists(*LISTS)
    yield
    sim.lists()


@pytest.fixture
def environment(broker, topics, ledger, sim, log_check):
    """The configuration is the file's; only where the servers are comes from here, as in the quickstart. The group is
    new, and so are the topics, which no other test has."""
    for name in (*ROWS, "signups.dlq", "signups.outcomes"):
        broker.create_topic(name, 3)
    log_check.add_secret(sim.key)
    return clean_environment({
        "SIGNUP_KAFKA_BROKERS": broker.bootstrap, "SIGNUP_KAFKA_GROUP": topics.group, "SIGNUP_POSTGRES_DSN": ledger.dsn,
        "SIGNUP_CONTACTS_API_BASE_URL": sim.base_url(), "SIGNUP_CONTACTS_API_VALIDATION_URL": sim.validation_url(),
        "SIGNUP_CONTACTS_API_KEY": sim.key, "SIGNUP_POSTGRES_AUTO_MIGRATE": "true",
        "SIGNUP_ADMIN_LISTEN": f"127.0.0.1:{free_port()}"})


def load_all(environment):
    """Loads each file to the topic that it is named after; returns the lines."""
    lines = 0
    for topic in ROWS:
        [file] = SAMPLES.glob(f"{topic}.*")
        count = sum(1 for _ in open(file, encoding="utf-8"))
        done = run("load", file, "--topic", topic, "--config", CONFIG, environment=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{count} events published to {topic} in "), done.stdout
        lines += count
    return lines


def test_the_samples_become_what_the_quickstart_shows(broker, topics, lists, environment, ledger, sim, tmp_path, log_check):
    """Five shapes by two routes: every record has its fate, the gate refuses whom it should for what it may cost, the
    partner's journeys are missed, each outcome is told; keys are phones, whatever the shape."""
    assert load_all(environment) == 1200
    log = tmp_path / "worker.log"
    process = spawn([find_binary("signup-worker"), "run", "--config", CONFIG], log, environment)
    try:
        ledger.wait_final(sum(map(sum, ROWS.values())))
        for topic in ROWS:
            broker.wait_drained(topic, topics.group, 30)
        wait_until(lambda: ledger.query("SELECT count(*) AS n FROM {schema}.outcome")[0]["n"] == 0, 30, "an empty outbox")
    except AssertionError as failure:
        raise AssertionError(f"{failure}\n{tail(log, 30)}") from failure
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert log_check.problems(log.read_text("utf-8", "replace")) == []

    rows = ledger.rows()
    found = {topic: [0, 0] for topic in ROWS}
    for row in rows:
        found[row["topic"]][row["state"] == "dead"] += 1
    assert {topic: tuple(counts) for topic, counts in found.items()} == ROWS
    refused = collections.Counter(row["validation"]["disposition"] for row in rows if row["code"] == "validation_refused")
    assert refused == REFUSED
    assert {row["list_number"] for row in rows if row["validation"]} == {GATED}
    looked_up = [line["phone"] for line in sim.lookups()]
    assert len(set(looked_up)) == len(looked_up) > 200
    assert sum(row["code"] == "test_lead" for row in rows) == 3
    assert ledger.query("SELECT list_number, events FROM {schema}.journey_gap") == [
        {"list_number": LISTS[0], "events": ROWS["leads.partner"][0] + 1}]
    by_topic = collections.defaultdict(collections.Counter)
    for row in rows:
        by_topic[row["topic"]][row["ad_network_source"]] += row["state"] == "accepted"
    assert by_topic["leads.meta"] == {"facebook": 178} and by_topic["leads.google"] == {"adwords": 118}
    assert set(by_topic["leads.partner"]) == {"facebook", "linkedin", "tiktok"}
    assert_names(rows)
    assert_keys(broker, rows)
    validator = jsonschema.Draft202012Validator(
        json.loads((REPOSITORY / "schemas" / "signup-outcome.schema.json").read_text(encoding="utf-8")))
    outcomes = [json.loads(record.value) for record in broker.consume("signups.outcomes")]
    assert sorted(outcome["event_id"] for outcome in outcomes) == sorted(row["event_id"] for row in rows)
    assert not [error for outcome in outcomes for error in validator.iter_errors(outcome)]
    assert {outcome["route"] for outcome in outcomes if "route" in outcome} == {"meta", "partner-offers"}


def assert_names(rows):
    """Every lead has the name of a person, whatever its shape calls it."""
    for row in rows:
        if row["state"] == "accepted":
            fields = row["request"]["custom_fields"]
            assert fields["first_name"] and fields["last_name"], row["event_id"]


def assert_keys(broker, rows):
    phones = {(row["topic"], row["partition"], row["offset"]): row["phone_number"] for row in rows}
    seen = 0
    for topic in ROWS:
        for record in broker.consume(topic):
            phone = phones.get((topic, record.partition, record.offset))
            assert phone is None or record.key == phone.encode(), (topic, record.partition, record.offset)
            seen += phone is not None
    assert seen > 1100
