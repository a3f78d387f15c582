"""The commands: exit codes of sysexits.h, complaints that name file, line and remedy, secrets that stay secret."""
import json
import re
import subprocess
import threading

import pytest

from signup_harness import find_binary, free_port
from signup_harness.process import clean_environment
from signup_harness.worker import merge, to_yaml
from signups import LIST, REPOSITORY, calls, event, phone

USAGE, NO_INPUT, UNAVAILABLE, REFUSED, CONFIG = 64, 66, 69, 77, 78


def run(*arguments, environment=None, stdin=None, timeout=60):
    return subprocess.run([find_binary("signup-worker"), *map(str, arguments)], input=stdin, capture_output=True, text=True,
                          env=clean_environment(environment), timeout=timeout, check=False)


@pytest.fixture
def write(tmp_path):
    """write(text or dictionary): the path of a configuration file with it."""
    def made(content, name="test.yaml"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else to_yaml(content) + "\n", encoding="utf-8")
        return path
    return made


# --- usage ---

@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["run", "--nope"], ["check", "--config"], ["load"], ["load", "a", "b"], ["migrate", "--config=x", "-z"],
    ["run", "extra"], ["check", "extra"], ["migrate", "extra"], ["config", "extra"]], ids=" ".join)
def test_usage_is_64(arguments):
    """A command line that is wrong exits 64, says what is wrong or how it is done on standard error, and does nothing."""
    try:
        done = run(*arguments, environment={"SIGNUP_CONTACTS_API_KEY": "trk_x", "SIGNUP_ADMIN_LISTEN": "off"}, timeout=10)
    except subprocess.TimeoutExpired:
        pytest.fail("it went to work instead of complaining")
    assert done.returncode == USAGE, done.stderr
    assert "signup-worker" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("command", ["run", "check", "migrate", "load", "replay", "config"])
def test_help(command):
    """Every command explains itself on standard output with an example, and exits 0."""
    done = run(command, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert f"usage: signup-worker {command}" in done.stdout and "examples:" in done.stdout
    assert command in run("--help").stdout


# --- configuration ---

# YAML below which a key is given, the line that must be named, and words that must be in the complaint: the key and
# what to do about it.
BAD_FILES = [
    ("kafka:\n  brokers: localhost:9092\n  topcs: [a]\n", 3, ["kafka.topcs", "did you mean kafka.topics"]),
    ("kafka:\n  topics: []\n", 2, ["kafka.topics", "empty"]),
    ("kafka:\n  topics: [\"a b\"]\n", 2, ["kafka.topics", "write letters"]),
    ("kafka:\n  brokers: \"localhost:99999\"\n", 2, ["kafka.brokers", "write"]),
    ("kafka:\n  start: beginning\n", 2, ["kafka.start", "earliest or latest"]),
    ("\nkafka:\n  dead_letter_topic: signups\n", 3, ["kafka.dead_letter_topic", "name another"]),
    ("kafka:\n  group:\n", 2, ["kafka.group", "write"]),
    ("kafka:\n  topics: [a]\n  topics: [b]\n", 3, ["kafka.topics", "line 2"]),
    ("kafkaa:\n  group: g\n", 1, ["kafkaa", "did you mean kafka"]),
    ("kafka: [a]\n", 1, ["kafka", "indented"]),
    ("postgres:\n  auto_migrate: perhaps\n", 2, ["postgres.auto_migrate", "write true or false"]),
    ("postgres:\n  schema: Signup-1\n", 2, ["postgres.schema", "lower-case"]),
    ("postgres:\n  schema: pg_own\n", 2, ["postgres.schema", "otherwise"]),
    ("postgres:\n  dsn: localhost\n", 2, ["postgres.dsn", "postgresql://"]),
    ("contacts_api:\n  timeout: 10\n", 2, ["contacts_api.timeout", "unit"]),
    ("contacts_api:\n  timeout: 1ms\n", 2, ["contacts_api.timeout", "too small"]),
    ("contacts_api:\n  max_in_flight: 0\n", 2, ["contacts_api.max_in_flight", "too small"]),
    ("contacts_api:\n  max_in_flight: many\n", 2, ["contacts_api.max_in_flight", "whole number"]),
    ("contacts_api:\n  base_url: http://app.example.com/api/v2\n", 2, ["contacts_api.base_url", "https"]),
    ("contacts_api:\n  base_url: app.example.com\n", 2, ["contacts_api.base_url", "https"]),
    ("contacts_api:\n  key: \"trk abc\"\n", 2, ["contacts_api.key", "copy the key again"]),
    ("defaults:\n  country: XX\n", 2, ["defaults.country", "ISO 3166"]),
    ("defaults:\n  list_number: \"12\"\n", 2, ["defaults.list_number", "write"]),
    ("validation:\n  mode: always\n", 2, ["validation.mode", "off, inline or gate"]),
    ("retry:\n  inline_base: 10s\n  inline_cap: 1s\n", 2, ["retry.inline_base", "retry.inline_cap"]),
    ("retry:\n  fuse: -1\n", 2, ["retry.fuse", "too small"]),
    ("policy:\n  402: bury\n", 2, ["policy", "402", "accepted"]),
    ("policy:\n  4020: dead\n", 2, ["policy", "4020"]),
    ("limits:\n  memory: 1\n", 2, ["limits.memory", "too small"]),
    ("limits:\n  memory: lots\n", 2, ["limits.memory", "MiB"]),
    ("limits:\n  lease: 2s\n", 2, ["limits.lease", "contacts_api.timeout"]),
    ("admin:\n  listen: \"127.0.0.1\"\n", 2, ["admin.listen", "port"]),
    ("log:\n  level: loud\n", 2, ["log.level", "debug, info, warn or error"]),
    ("log:\n\tlevel: info\n", 2, ["tab"]),
    ("log: {level: info\n", None, ["YAML"]),
    ("log:\n  level: info\n---\nlog:\n  level: debug\n", 3, ["---"]),
    *((f"kafka:\n  properties:\n    {name}: x\n", 3, ["kafka.properties", name, "set|worker|create|there is nothing|no property"])
      for name in ("auto.offset.reset", "enable.auto.commit", "enable.auto.offset.store", "auto.commit.interval.ms", "group.id",
                   "bootstrap.servers", "enable.partition.eof", "isolation.level", "enable.idempotence", "acks")),
    ("kafka:\n  properties:\n    no.such.thing: x\n", None, ["no.such.thing"]),
]


@pytest.mark.parametrize("text, line, words", BAD_FILES, ids=[re.sub(r"\s+", " ", text)[:50] for text, _, _ in BAD_FILES])
def test_bad_value_in_a_file_is_78(write, text, line, words):
    """A bad value, an unknown key or broken YAML exits 78 with file, line, key and remedy in one line, from every
    command that reads the configuration."""
    path = write(text)
    done = run("check", "--config", path, environment={} if "contacts_api:" in text else {"SIGNUP_CONTACTS_API_KEY": "trk_x"})
    assert done.returncode == CONFIG, done.stderr
    where = f"{path}:{line}: " if line else f"{path}"
    found = [complaint for complaint in done.stderr.splitlines() if complaint.startswith(where)]
    assert found, done.stderr
    assert all(re.search(word, found[0]) for word in words), found[0]
    assert done.stdout == ""


def test_all_complaints_come_at_once(write):
    """Four mistakes of a file and one of the environment are all said in one go."""
    path = write("kafka:\n  start: x\npostgres:\n  timeout: 1\nlog:\n  level: 7\nlimits:\n  batch: 0\n")
    done = run("config", "--config", path, environment={"SIGNUP_RETRY_FUSE": "x"})
    assert done.returncode == CONFIG
    for subject in ("2: kafka.start", "4: postgres.timeout", "6: log.level", "8: limits.batch", "SIGNUP_RETRY_FUSE"):
        assert subject in done.stderr, done.stderr


@pytest.mark.parametrize("arguments", [
    ["--config", "/no/such/file.yaml"], ["--config", "{folder}"]], ids=["missing", "a folder"])
@pytest.mark.parametrize("command", ["run", "check", "migrate", "config"])
def test_missing_configuration_is_66(command, arguments, tmp_path):
    """A configuration that cannot be read exits 66 and names the file."""
    folder = tmp_path / "folder"
    folder.mkdir()
    made = [argument.replace("{folder}", str(folder)) for argument in arguments]
    done = run(command, *made)
    assert done.returncode == NO_INPUT, done.stderr
    assert made[1] in done.stderr


def test_missing_files_that_the_configuration_names_are_66(write, tmp_path):
    """The key file, the CA file and the file of the connection string: 66, the key, its line, the path."""
    for section, key in (("contacts_api", "key_file"), ("contacts_api", "ca_file"), ("postgres", "dsn_file")):
        missing = tmp_path / f"no-{key}"
        path = write({section: {key: str(missing)}})
        environment = {} if key == "key_file" else {"SIGNUP_CONTACTS_API_KEY": "trk_x"}
        done = run("check", "--config", path, environment=environment)
        assert done.returncode == NO_INPUT, (key, done.stderr)
        assert f"{path}:2: {section}.{key}" in done.stderr and done.stderr.strip(), done.stderr


@pytest.mark.parametrize("name, value, words", [
    ("SIGNUP_RETRY_FUSE", "x", "whole number"), ("SIGNUP_KAFKA_BROKER", "a:1", "did you mean SIGNUP_KAFKA_BROKERS"),
    ("SIGNUP_CONTACTS_API_TIMEOUT", "10", "unit"), ("SIGNUP_LOG_LEVEL", "loud", "debug"), ("SIGNUP_KAFKA_TOPICS", "a,b c", "write"),
    ("SIGNUP_POSTGRES_AUTO_MIGRATE", "2", "true or false"), ("SIGNUP_KAFKA_PROPERTIES", "auto.offset.reset=latest", "kafka.start"),
    ("SIGNUP_POLICY", "402=bury", "accepted"), ("SIGNUP_ADMIN_LISTEN", "here", "port"),
    ("SIGNUP_LIMITS_MEMORY", "", "size")], ids=lambda value: str(value)[:30])
def test_bad_value_in_the_environment_is_78(name, value, words):
    """The variable is named, and what to write instead."""
    done = run("config", environment={name: value, "SIGNUP_CONTACTS_API_KEY": "trk_x"})
    assert done.returncode == CONFIG, done.stderr
    assert re.search(rf"^{name}: .*{words}|^{name}.*{words}", done.stderr, re.M), done.stderr


def test_environment_wins_over_the_file(write):
    """Every scalar can be given by a variable, lists with commas, maps as name=value; the result is what is in force."""
    path = write({"kafka": {"group": "file", "topics": ["file"], "brokers": "file:1"}, "retry": {"fuse": 1}})
    done = run("config", "--config", path, environment={
        "SIGNUP_KAFKA_GROUP": "environment", "SIGNUP_KAFKA_TOPICS": "a, b", "SIGNUP_POSTGRES_AUTO_MIGRATE": "true",
        "SIGNUP_CONTACTS_API_TIMEOUT": "3s", "SIGNUP_LIMITS_MEMORY": "64MiB", "SIGNUP_POLICY": "402=dead",
        "SIGNUP_VALIDATION_MODE": "off", "SIGNUP_KAFKA_PROPERTIES": "client.id=mine"})
    assert done.returncode == 0, done.stderr
    for text in ('group: "environment"', "topics: [a, b]", "auto_migrate: true", "timeout: 3s", "memory: 64MiB", "fuse: 1",
                 "file:1", "402", "client.id"):
        assert text in done.stdout, (text, done.stdout)


def test_reference_is_the_document():
    """deploy/configuration.md is what the program generates."""
    document = (REPOSITORY / "deploy" / "configuration.md").read_text(encoding="utf-8")
    assert run("config", "--reference").stdout == document


def test_what_config_prints_is_a_configuration(write, worker_config):
    """The printed configuration can be read again and prints the same."""
    first = run("config", "--config", write(worker_config))
    assert first.returncode == 0, first.stderr
    text = "\n".join(line for line in first.stdout.splitlines() if "***" not in line and "dsn:" not in line)
    second = run("config", "--config", write(text, "again.yaml"))
    assert second.returncode == 0, second.stderr
    kept = [line for line in second.stdout.splitlines() if "dsn:" not in line]
    assert [line for line in text.splitlines() if "dsn:" not in line and line.strip()] == kept


# --- check ---

def test_check_says_what_is_well(write, worker_config, ledger, sim):
    """All well: exit 0, one line each for configuration, Kafka, PostgreSQL and API; it changed nothing."""
    assert run("migrate", "--config", write(worker_config)).returncode == 0
    done = run("check", "--config", write(worker_config))
    assert done.returncode == 0, done.stdout + done.stderr
    for who in ("configuration", "kafka", "postgres", "contacts_api"):
        assert re.search(rf"^ok +{who}", done.stdout, re.M), done.stdout
    assert ledger.states() == {} and sim.effects() == []


def test_check_tells_who_is_to_blame(broker, topics, ledger, write, worker_config, sim, tmp_path):
    """Away is 69 (a missing topic, too: the worker waits for it), a refused key or login 77, a missing schema 78; each
    line names the server and a remedy; the others are still looked at."""
    def check(**changes):
        return run("check", "--config", write(merge(worker_config, changes)))

    def says(done, who):
        return [line for line in done.stdout.splitlines() if re.match(rf"NO +{who}", line)]

    no_schema = check()
    assert no_schema.returncode == CONFIG and "signup-worker migrate" in says(no_schema, "postgres")[0], no_schema.stdout
    assert run("migrate", "--config", write(worker_config)).returncode == 0
    nobody = f"127.0.0.1:{free_port()}"
    for who, changes in (("kafka", {"kafka": {"brokers": nobody}}),
                         ("postgres", {"postgres": {"dsn": f"postgresql://signup:x@{nobody}/signup"}}),
                         ("contacts_api", {"contacts_api": {"base_url": f"http://{nobody}/api/v2"}})):
        done = check(**changes)
        assert done.returncode == UNAVAILABLE, (who, done.stdout, done.stderr)
        assert len(says(done, who)) == 1 and nobody.partition(":")[2] in says(done, who)[0], done.stdout
        well = set(re.findall(r"^ok +(\w+)", done.stdout, re.M))
        assert well == {"configuration", "kafka", "postgres", "contacts_api"} - {who}, done.stdout

    wrong_key = tmp_path / "wrong-key"
    wrong_key.write_text("trk_" + "w" * 32)
    done = check(contacts_api={"key_file": str(wrong_key)})
    assert done.returncode == REFUSED and "key" in says(done, "contacts_api")[0], done.stdout
    bad_login = ledger.dsn.replace(ledger.dsn.split(":")[2].split("@")[0], "wrong-password")
    done = check(postgres={"dsn": bad_login})
    assert done.returncode == REFUSED and says(done, "postgres"), done.stdout
    assert "wrong-password" not in done.stdout + done.stderr
    done = check(kafka={"topics": [topics.source.name + "-missing"]})
    assert done.returncode == UNAVAILABLE and "Create it" in says(done, "kafka")[0], done.stdout
    both = check(kafka={"brokers": nobody}, contacts_api={"key_file": str(wrong_key)})
    assert both.returncode == REFUSED and says(both, "kafka") and says(both, "contacts_api")
    assert sim.effects() == []


# --- migrate and run ---

def test_migrate_twice_and_at_once(write, worker_config, ledger):
    """Six migrations at the same time all exit 0 and apply each file once; another one changes nothing."""
    path = write(worker_config)
    results = []
    threads = [threading.Thread(target=lambda: results.append(run("migrate", "--config", path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0] * 6, [done.stderr for done in results]
    assert sum(done.stdout.count("applied 0001") for done in results) == 1
    versions = ledger.query("SELECT version FROM {schema}.schema_version ORDER BY version")
    again = run("migrate", "--config", path)
    assert again.returncode == 0 and "up to date" in again.stdout and "applied" not in again.stdout
    assert ledger.query("SELECT version FROM {schema}.schema_version ORDER BY version") == versions
    assert [row["version"] for row in versions] == list(range(1, len(versions) + 1))


def test_migrate_into_a_named_schema(write, worker_config, ledger, topics, workers):
    """postgres.schema names the schema, for migrate and for run, also a name that SQL keeps for itself."""
    changed = merge(worker_config, {"postgres": {"schema": "select", "auto_migrate": False}})
    assert run("migrate", "--config", write(changed)).returncode == 0
    workers(postgres={"schema": "select", "auto_migrate": False})
    topics.source.produce([event(1)])
    ledger.schema = '"select"'
    ledger.wait_states(accepted=1)


def test_run_refuses_a_schema_that_does_not_fit(write, worker_config, ledger):
    """No schema, an older one, a newer one: run exits 78 with a message that names the remedy, and takes nothing.
    With auto_migrate it brings the older one up to date."""
    strict = write(merge(worker_config, {"postgres": {"auto_migrate": False}, "admin": {"listen": "off"}}))
    done = run("run", "--config", strict)
    assert done.returncode == CONFIG and "signup-worker migrate" in done.stderr, done.stderr
    assert run("migrate", "--config", strict).returncode == 0
    newest = ledger.query("SELECT max(version) AS v FROM {schema}.schema_version")[0]["v"]
    saved = ledger.query("SELECT * FROM {schema}.schema_version ORDER BY version")
    ledger.query("DELETE FROM {schema}.schema_version WHERE version > 1")
    done = run("run", "--config", strict)
    assert done.returncode == CONFIG and "signup-worker migrate" in done.stderr, done.stderr
    assert "version 1" in done.stderr and str(newest) in done.stderr
    for row in saved[1:] + [{**saved[-1], "version": newest + 1}]:
        ledger.query("INSERT INTO {schema}.schema_version (version, name, sha256, applied_at) VALUES (%s, %s, %s, %s)",
                     (row["version"], row["name"], row["sha256"], row["applied_at"]))
    done = run("run", "--config", strict)
    assert done.returncode == CONFIG and "newer" in done.stderr, done.stderr
    done = run("migrate", "--config", strict)
    assert done.returncode == CONFIG and "newer" in done.stderr, done.stderr


def test_migrate_notices_a_changed_file(write, worker_config, ledger):
    """A schema file that was changed after it had been applied is an error that names it."""
    path = write(worker_config)
    assert run("migrate", "--config", path).returncode == 0
    ledger.query("UPDATE {schema}.schema_version SET sha256 = 'x' WHERE version = 1")
    done = run("migrate", "--config", path)
    assert done.returncode == CONFIG and "0001" in done.stderr and "changed" in done.stderr, done.stderr


def test_migrate_while_postgres_is_away(write, worker_config):
    """69, and who it is."""
    nobody = f"127.0.0.1:{free_port()}"
    changed = merge(worker_config, {"postgres": {"dsn": f"postgresql://signup:x@{nobody}/signup"}})
    done = run("migrate", "--config", write(changed))
    assert done.returncode == UNAVAILABLE and nobody in done.stderr, done.stderr


# --- load ---

def test_load(topics, ledger, worker, write, worker_config, sim, tmp_path):
    """load publishes every line as it is, keyed by the normal form of its phone, and ends with a summary; the worker
    does the rest, bad lines included."""
    spelled = ["(312) 200-0001", "312-200-0001", "+13122000001"]
    lines = [json.dumps(event(1, event_id=f"e-{n}", phone_number=text)) for n, text in enumerate(spelled)]
    lines += ["", "not json", json.dumps(event(5, phone_number=None, phone=3122000005)), "   "]
    file = tmp_path / "signups.ndjson"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = write(worker_config)
    done = run("load", file, "--config", config)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^5 events published to {topics.source.name} in [\d.]+ s", done.stdout, re.M), done.stdout
    ledger.wait_states(accepted=4, dead=1)
    records = topics.source.consume()
    assert sorted(record.key for record in records if record.key) == [phone(1).encode()] * 3 + [phone(5).encode()]
    assert len({record.partition for record in records if record.key == phone(1).encode()}) == 1
    assert sim.contact(phone(1), LIST)["enrolments"] == 1

    done = run("load", "-", "--config", config, stdin=json.dumps(event(7)) + "\n")
    assert done.returncode == 0 and "1 events published" in done.stdout
    ledger.wait_states(accepted=5, dead=1)
    assert run("load", tmp_path / "none", "--config", config).returncode == NO_INPUT


def test_load_while_kafka_is_away(write, worker_config, tmp_path):
    """69 and the address, after a bounded time."""
    file = tmp_path / "one.ndjson"
    file.write_text(json.dumps(event(1)) + "\n")
    nobody = f"127.0.0.1:{free_port()}"
    done = run("load", file, "--config", write(merge(worker_config, {"kafka": {"brokers": nobody}})))
    assert done.returncode == UNAVAILABLE and nobody in done.stderr, done.stderr


# --- secrets ---

def test_secrets_stay_secret(topics, ledger, worker_config, write, workers, sim, tmp_path):
    """Neither the API key nor the database's password nor Kafka's appears in what any command prints, in the log at its
    most talkative, on the admin endpoints, in the command line or in the environment of the process."""
    password = ledger.dsn.split(":")[2].split("@")[0]
    kafka_secret = "kafka-secret-4711"
    secrets = [sim.key, password, kafka_secret]
    config = write(merge(worker_config, {"kafka": {"properties": {"sasl.password": kafka_secret}}}))
    with_key = {"SIGNUP_CONTACTS_API_KEY": sim.key, "SIGNUP_POSTGRES_DSN": ledger.dsn}
    printed = [run(command, "--config", config, environment=environment) for command in ("config", "check", "migrate")
               for environment in ({}, with_key)]
    for broken in ("contacts_api:\n  key: \"%s x\"\n" % sim.key, "postgres:\n  dsn: \"%s\n" % ledger.dsn,
                   "contacts_api:\n  key: [%s]\n" % sim.key, "postgres:\n  dsn: \"mysql://u:%s@h/d\"\n" % password):
        printed.append(run("check", "--config", write(broken, "broken.yaml")))
        assert printed[-1].returncode == CONFIG
    for done in printed:
        for secret in secrets:
            assert secret not in done.stdout + done.stderr, done.args

    worker = workers(start=False, log={"level": "debug"}, environment=with_key)
    worker.configure({**worker.config, "postgres": {"auto_migrate": True},
                      "contacts_api": {name: value for name, value in worker.config["contacts_api"].items()
                                       if name != "key_file"}})
    worker.start()
    sim.fault({"kind": "answer", "status": 400, "code": "invalid_phone", "apply": False,
               "error": f"{phone(2)} with key {sim.key} is not valid"}, op="upsert", phone=phone(2))
    topics.source.produce([event(1), event(2), event(3, phone_number="(312) 200-0003")])
    ledger.wait_states(accepted=2, dead=1)
    pid = worker.process.pid
    seen = [worker.get(path)[1] for path in ("/status", "/metrics", "/readyz", "/livez")]
    seen += [open(f"/proc/{pid}/{name}", "rb").read().decode("utf-8", "replace") for name in ("cmdline", "environ")]
    assert worker.stop() == 0
    seen.append(worker.log_text())
    for text in seen:
        for secret in secrets:
            assert secret not in text
    assert len(calls(sim)) == 3


def test_log_as_json(topics, ledger, workers):
    """log.format json: every line of the log is one JSON object with time, level, room and msg; phones are masked."""
    worker = workers(log={"format": "json", "level": "debug"})
    topics.source.produce([event(1), event(2, phone_number="1")])
    ledger.wait_states(accepted=1, dead=1)
    assert worker.stop() == 0
    lines = [json.loads(line) for line in worker.log_text().splitlines()]
    assert len(lines) > 5 and all({"time", "level", "room", "msg"} <= set(line) for line in lines)
    assert any(line["msg"] == "an event is dead" and line["code"] == "invalid_phone" for line in lines)


def test_admin_address_in_use(workers, worker, write, worker_config):
    """A second worker that cannot listen says where and why, and exits."""
    changed = merge(worker_config, {"admin": {"listen": f"127.0.0.1:{worker.admin_port}"}})
    done = run("run", "--config", write(changed))
    assert done.returncode != 0 and str(worker.admin_port) in done.stderr and "admin.listen" in done.stderr
    assert worker.is_ready()
