"""The outcomes topic: one record for each final outcome, for those who may not look into the ledger."""
import collections
import datetime
import json
import time

import jsonschema
import pytest

from signup_harness import KafkaNode, wait_until
from signup_harness.worker import merge, to_yaml
from signups import (LIST, OTHER_LIST, REPOSITORY, assert_one_final_row_each, calls, event, letters, make_due, phone,
                     wait_settled)
from test_cli import run

SCHEMA = json.loads((REPOSITORY / "schemas" / "signup-outcome.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MANY = 3000
TYPE = [("content-type", b"application/json")]


def read(topic):
    """Every outcome on the topic, in order; each must be what the contract says, record and text."""
    found = []
    for record in topic.consume():
        outcome = json.loads(record.value)
        problems = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(outcome)]
        assert not problems, (outcome, problems)
        assert record.headers == TYPE and record.key.decode() == outcome["event_id"], record
        found.append(outcome)
    return found


def wait_told(topic, count, timeout=60):
    """{event id: outcome} once there are `count` of them, and no more: each was told once."""
    outcomes = wait_until(lambda: (lambda found: found if len(found) >= count else None)(read(topic)), timeout,
                          lambda: f"{count} outcomes, but {len(topic.consume())}", interval=0.1)
    by_id = {outcome["event_id"]: outcome for outcome in outcomes}
    assert len(by_id) == len(outcomes) == count, collections.Counter(o["event_id"] for o in outcomes).most_common(3)
    return by_id


def nothing_is_due(ledger):
    return ledger.query("SELECT count(*) AS n FROM {schema}.outcome")[0]["n"] == 0


def expected(row, warnings, **others):
    """What must be told of a ledger's row."""
    at = row["finished_at"].astimezone(datetime.timezone.utc)
    made = {"version": 1, "event_id": row["event_id"], "source": f"{row['topic']}:{row['partition']}:{row['offset']}",
            "attempts": row["attempts"], "finished_at": at.replace(microsecond=at.microsecond // 1000 * 1000)}
    for name in ("state", "code", "http_status", "list_number", "contact_id", "list_contact_id", "is_new_contact",
                 "is_new_list_contact", "journeys_enrolled", "ad_network_source", "ad_network_id", "attribution"):
        made[name] = row[name]
    made["disposition"] = (row["validation"] or {}).get("disposition")
    made["signup_date"] = row["signup_date"].strftime("%Y-%m-%dT%H:%M:%SZ") if row["signup_date"] else None
    made["warnings"] = sorted({code for _, code in warnings}) or None
    made.update(others)
    return {name: value for name, value in made.items() if value is not None}


def told_as(outcome):
    """The outcome, comparable with expected()."""
    made = dict(outcome, finished_at=datetime.datetime.fromisoformat(outcome["finished_at"].replace("Z", "+00:00")))
    made.pop("error_class", None)
    if "warnings" in made:
        made["warnings"] = sorted(made["warnings"])
    return made


@pytest.fixture
def outcomes(broker, topics):
    return broker.create_topic(f"{topics.source.name}.outcomes", 3)


@pytest.fixture
def telling(outcomes):
    """telling(...): the kafka section of a worker that tells outcomes."""
    return lambda **more: {"outcomes_topic": outcomes.name, **more}


# --- what is told ---

@pytest.mark.sanitized
def test_each_final_outcome_is_told_once(topics, outcomes, telling, ledger, workers, sim):
    """Accepted and dead, of every kind: one valid record each, in the words of the ledger's row; what only waits is not
    told; no phone number is."""
    sim.fault({"kind": "answer", "status": 503, "code": "provider_error", "apply": False}, op="upsert", phone=phone(6),
              count=1)
    sim.fault({"kind": "answer", "status": 400, "code": "list_not_found", "apply": False}, op="upsert", phone=phone(8))
    workers(kafka=telling(), retry={"inline_attempts": 1, "park_base": "1h", "park_cap": "1h"})
    clicked = "https://offers.example.com/l?gclid=EAIaIQobChMI&utm_campaign=spring"
    topics.source.produce([
        event(1, ad_network_source="facebook", ad_network_id="cmp-1", signup_date="2025-03-15T14:30:00Z"),
        event(2, url=clicked, use_journeys=False, ip_address="localhost", custom_fields={"nested": {}, "list": []}),
        event(3, event_id=None),
        event(4, use_validation=True),
        event(5, list_number=OTHER_LIST + "7"),
        event(6),
        event(7, phone_number="12", url=clicked),
        event(8),
        b"{not json",
        event(10, use_journeys="perhaps"),
    ])
    ledger.wait_row("e-6", state="parked")
    ledger.wait_states(accepted=4, dead=5, parked=1)
    before = wait_told(outcomes, 9)
    assert "e-6" not in before
    make_due(ledger, "e-6")
    ledger.wait_states(accepted=5, dead=5)
    told = wait_told(outcomes, 10)
    assert {name: told[name] for name in before} == before

    rows = {row["event_id"]: row for row in ledger.rows()}
    assert set(told) == set(rows)
    for name, row in rows.items():
        assert told_as(told[name]) == expected(row, ledger.warnings(name)), name
    assert told["e-2"]["ad_network_source"] == "adwords" and told["e-2"]["attribution"]["gclid"] == "EAIaIQobChMI"
    assert set(told["e-2"]["warnings"]) == {"field_dropped", "journeys_not_used"}
    assert told["e-4"]["disposition"] == "ok"
    assert (told["e-6"]["attempts"], told["e-6"]["http_status"]) == (2, 201)
    assert (told["e-8"]["code"], told["e-8"]["http_status"]) == ("list_not_found", 400)
    assert {told[name]["error_class"] for name, row in rows.items() if row["state"] == "dead"} == {"rejected"}
    assert not any("error_class" in told[name] for name, row in rows.items() if row["state"] == "accepted")
    text = json.dumps(list(told.values()))
    for number in range(1, 11):
        assert phone(number)[1:] not in text and phone(number)[2:] not in text
    wait_until(lambda: nothing_is_due(ledger), 10, "an empty outbox")


def test_the_phone_is_told_where_it_is_asked_for(topics, outcomes, telling, ledger, workers, sim):
    """kafka.outcomes_phone adds the phone number in its normal form, of the dead too."""
    sim.fault({"kind": "answer", "status": 400, "code": "not_sendable", "apply": False}, op="upsert", phone=phone(2))
    workers(kafka=telling(outcomes_phone=True))
    topics.source.produce([event(1, phone_number="(312) 200-0001"), event(2), event(3, phone_number="12")])
    ledger.wait_states(accepted=1, dead=2)
    told = wait_told(outcomes, 3)
    assert [told[f"e-{number}"].get("phone_number") for number in (1, 2, 3)] == [phone(1), phone(2), None]


def test_without_a_topic_nothing_is_kept(topics, ledger, worker, sim):
    """Nobody asks for outcomes: the ledger's outbox stays empty."""
    topics.source.produce([event(1), event(2, phone_number="12")])
    ledger.wait_states(accepted=1, dead=1)
    assert nothing_is_due(ledger)


def test_each_end_of_an_event_is_told_in_order(topics, outcomes, telling, ledger, workers, sim):
    """A dead event that is corrected under its id is told again; both records lie in order, on one partition."""
    workers(kafka=telling())
    topics.source.produce([event(1, phone_number="12")], partition=0)
    ledger.wait_row("e-1", state="dead")
    wait_told(outcomes, 1)
    topics.source.produce([event(1)], partition=2)
    ledger.wait_row("e-1", state="accepted")
    records = wait_until(lambda: (lambda found: found if len(found) == 2 else None)(outcomes.consume()), 30, "two records")
    assert len({record.partition for record in records}) == 1
    assert [outcome["state"] for outcome in read(outcomes)] == ["dead", "accepted"]
    # The same record once more changes nothing, and is not told.
    topics.source.produce([event(1)], partition=1)
    wait_settled(topics.source, topics.group)
    assert len(outcomes.consume()) == 2


def test_an_event_too_long_to_be_told_whole(topics, outcomes, telling, ledger, workers, sim):
    """It is told in its least form, and the worker goes on."""
    worker = workers(kafka=telling())
    topics.source.produce([event(1, ad_network_id="x" * 100000), event(2)])
    ledger.wait_states(accepted=1, dead=1)
    told = wait_told(outcomes, 2)
    assert told["e-1"]["code"] == "payload_too_large" and "ad_network_id" not in told["e-1"]
    assert told["e-2"]["state"] == "accepted"
    assert worker.is_running()


# --- the topic in trouble ---

def drain_seconds(topics, ledger, first, already):
    """How long the worker takes for MANY more events, ten dead ones among them."""
    began = time.monotonic()
    events = [event(first + number) for number in range(MANY - 10)]
    events += [event(first + MANY + number, phone_number="12") for number in range(10)]
    topics.source.produce(events)
    ledger.wait_final(already + MANY, timeout=90)
    wait_settled(topics.source, topics.group)
    return time.monotonic() - began


def test_a_missing_topic_holds_nobody_up(broker, topics, ledger, workers, sim):
    """Without the topic signups go on at their pace and dead letters are published; once it is there, every outcome is
    told, once."""
    name = f"{topics.source.name}.later"
    worker = workers(kafka={"outcomes_topic": name})
    worker.wait_log("the outcomes topic does not exist: create it")
    without = drain_seconds(topics, ledger, 0, 0)
    letters(topics.dead_letter, 10)
    assert ledger.query("SELECT count(*) AS n FROM {schema}.outcome")[0]["n"] == MANY
    assert worker.is_ready(), worker.get("/readyz")
    outcomes = broker.create_topic(name, 3)
    assert len(wait_told(outcomes, MANY, timeout=90)) == MANY
    wait_until(lambda: nothing_is_due(ledger), 10, "an empty outbox")
    worker.wait_log("outcomes are published again")
    having = drain_seconds(topics, ledger, 100000, MANY)
    print(f"{MANY} events: {without:.2f} s without the topic, {having:.2f} s with it")
    assert without < 2 * having + 3, "the missing topic made the worker slow"
    wait_told(outcomes, 2 * MANY, timeout=60)


def test_a_topic_that_goes_away_and_comes_back(broker, topics, outcomes, telling, ledger, workers, sim):
    """The topic is deleted under the worker: what becomes final meanwhile is told when it is there again."""
    if not broker.is_real:
        pytest.skip("the mock cluster cannot delete a topic")
    worker = workers(kafka=telling())
    topics.source.produce([event(number) for number in range(50)])
    ledger.wait_states(accepted=50)
    wait_told(outcomes, 50)
    wait_until(lambda: nothing_is_due(ledger), 10, "an empty outbox")
    broker.tool("delete-topic", "--topic", outcomes.name)
    topics.source.produce([event(100 + number) for number in range(500)] + [event(1000, phone_number="12")])
    ledger.wait_states(accepted=550, dead=1)
    letters(topics.dead_letter, 1)
    worker.wait_log("outcomes cannot be published", timeout=60)
    again = broker.create_topic(outcomes.name, 3)
    wait_until(lambda: nothing_is_due(ledger), 90, lambda: f"all of them told: {len(again.consume())}", interval=0.2)
    wanted = {f"e-{100 + number}" for number in range(500)} | {"e-1000"}
    assert {outcome["event_id"] for outcome in read(again)} == wanted


def test_kill_9_loses_no_outcome(topics, outcomes, telling, ledger, workers, sim):
    """Workers killed in the middle: each final outcome is told at least once, and copies are equal byte for byte."""
    sim.latency(1, 5)
    worker = workers(kafka=telling(), contacts_api={"timeout": "2s"}, limits={"lease": "3s"})
    events = [event(number) for number in range(MANY)] + [event(MANY + number, phone_number="12") for number in range(30)]
    topics.source.produce(events)
    for share in (0.15, 0.4, 0.65, 0.9):
        wait_until(lambda: len(calls(sim)) >= share * MANY, 60, "calls")
        worker.kill()
        # Nobody runs: what is leased is the dead one's, and would be due in 40 s.
        ledger.query("UPDATE {schema}.outcome SET lease_until = now() WHERE lease_until IS NOT NULL")
        worker.start(ready=False)
    ledger.wait_final(len(events), timeout=120)
    assert_one_final_row_each(ledger, [one["event_id"] for one in events])
    wait_until(lambda: nothing_is_due(ledger), 90, "an empty outbox")
    values = collections.defaultdict(set)
    for record in outcomes.consume():
        values[record.key.decode()].add(record.value)
    assert set(values) == {one["event_id"] for one in events}
    assert all(len(copies) == 1 for copies in values.values())
    rows = {row["event_id"]: row for row in ledger.rows()}
    warnings = collections.defaultdict(list)
    for row in ledger.query("SELECT event_id, source, code FROM {schema}.warning"):
        warnings[row["event_id"]].append((row["source"], row["code"]))
    for outcome in read(outcomes):
        name = outcome["event_id"]
        assert told_as(outcome) == expected(rows[name], warnings[name])


# --- check and configuration ---

def test_check_looks_at_the_topic(topics, outcomes, telling, ledger, worker, worker_config, sim, tmp_path):
    """One line: how many partitions, or that it must be created; a topic that is read from is refused, 78."""
    config = tmp_path / "told.yaml"

    def check(topic):
        config.write_text(to_yaml(merge(worker_config, {"kafka": {"outcomes_topic": topic}})) + "\n", encoding="utf-8")
        return run("check", "--config", config)

    done = check(outcomes.name)
    assert done.returncode == 0 and f"Outcomes topic {outcomes.name}: 3 partitions, and may be written" in done.stdout, done
    if outcomes.broker.is_real:
        assert outcomes.consume() == []  # it was asked, not tried
    done = check(outcomes.name + ".none")
    assert done.returncode == 69 and f"Outcomes topic {outcomes.name}.none does not exist. Create it" in done.stdout, done
    for taken in (topics.source.name, topics.dead_letter.name):
        done = check(taken)
        assert done.returncode == 78 and "outcomes_topic" in done.stderr, done


def test_check_finds_that_the_right_to_write_is_missing(topics, worker_config, worker, tmp_path):
    """On a broker that knows rights, a topic that may be seen but not written is said to be so, 77."""
    if not topics.source.broker.is_real:
        pytest.skip("the mock cluster knows no rights")
    broker = KafkaNode(tmp_path / "kafka", settings={
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true"})
    try:
        for name in ("source", "letters", "open", "closed"):
            broker.create_topic(name)
        broker.tool("deny-write", "--topic", "closed")
        kafka = {"brokers": broker.bootstrap, "topics": ["source"], "dead_letter_topic": "letters"}
        config = tmp_path / "told.yaml"

        def check(topic):
            config.write_text(to_yaml(merge(worker_config, {"kafka": {**kafka, "outcomes_topic": topic}})) + "\n",
                              encoding="utf-8")
            return run("check", "--config", config)

        # A broker that has just begun may not know its groups yet: it is then away.
        wait_until(lambda: check("open").returncode != 69, 120, lambda: f"the broker answers: {check('open')}")
        done = check("open")
        assert done.returncode == 0 and "Outcomes topic open: 1 partition, and may be written" in done.stdout, done
        assert broker.consume("open") == []
        wait_until(lambda: check("closed").returncode == 77, 10, "a broker that has heard of the rule")
        done = check("closed")
        assert "Outcomes topic closed: not allowed. Give the worker's user the right to write" in done.stdout, done
    finally:
        broker.close()
