"""PostgreSQL, the simulator and the wrapper of the worker."""
import http.client
import json
import os
import stat
import sys

import psycopg2
import pytest

from signup_harness import ChaosProxy, KafkaNode, LogCheck, Worker, free_port
from signup_harness.fixtures import check_workers
from signup_harness.worker import to_yaml


def test_commits_survive_restarts_and_kill(postgres, ledger):
    postgres.execute(ledger.dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    for interrupt in (lambda: postgres.restart("fast"), lambda: postgres.restart("immediate"),
                      lambda: (postgres.kill(), postgres.start())):
        interrupt()
        postgres.execute(ledger.dsn, "INSERT INTO kept SELECT count(*) + 1 FROM kept")
    assert postgres.execute(ledger.dsn, "SELECT n FROM kept ORDER BY n") == [(1,), (2,), (3,), (4,)]
    assert postgres.execute(ledger.dsn, "SHOW fsync") == [("on",)]


def test_loopback_asks_for_the_password(postgres):
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(host="127.0.0.1", port=postgres.port, user="postgres", dbname="postgres", password="x")
    assert postgres.execute(postgres.admin_dsn, "SELECT 1") == [(1,)]
    assert postgres.execute(postgres.dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = 'signup'") == [(False,)]


def test_database_through_a_proxy(postgres, ledger):
    with ChaosProxy(postgres.port) as proxy:
        dsn = postgres.dsn_through(proxy.port, ledger.dsn)
        assert postgres.execute(dsn, "SELECT current_database()") == [(ledger.dsn.rsplit("/", 1)[1],)]
        proxy("refuse")
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(dsn)
    assert ledger.states() == {}


def test_kafka_through_a_proxy(broker, tmp_path):
    if not broker.is_real:
        pytest.skip("Apache Kafka is not here")
    with ChaosProxy(1) as proxy:  # it exists first, as the broker must know the port that it advertises
        node_port = free_port()
        node = KafkaNode(tmp_path / "kafka", extra_listener=(node_port, proxy.port), heap="256m")
        try:
            proxy(f"target 127.0.0.1:{node_port}")
            direct, topic = node.bootstrap, node.create_topic("signups", 1)
            node.bootstrap = f"127.0.0.1:{proxy.port}"
            topic.produce([b"through"])
            assert [record.value for record in topic.consume()] == [b"through"]
            assert proxy.stats()["up_bytes"] > 0
            node.bootstrap = direct
            before = proxy.stats()["accepted"]
            assert [record.value for record in topic.consume()] == [b"through"]
            assert proxy.stats()["accepted"] == before
        finally:
            node.close()


def post(sim, body):
    connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=10)
    connection.request("POST", "/api/v2/contacts", json.dumps(body),
                       {"X-Api-Key": sim.key, "Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def test_simulator_is_fresh_and_its_book_continues(sim):
    body = {"phone_number": "+12125550100", "list_number": "+18005550100"}
    sim.fault({"kind": "answer", "status": 500}, count=1)
    assert post(sim, body) == 500 and post(sim, body) < 300
    assert len(sim.book("received")) == 2 and len(sim.effects()) == 1
    sim.kill()
    sim.start()
    assert post(sim, body) < 300
    assert len(sim.effects()) == 2
    sim.fresh()
    assert sim.book() == [] or {line["phase"] for line in sim.book()} == {"control"}
    assert sim.effects() == []


FAKE_WORKER = """#!{python}
import http.server, pathlib, re, signal, sys
port = int(re.search(r'127.0.0.1:(\\d+)', pathlib.Path(sys.argv[3]).read_text())[1])
class Admin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = 'a_total{{code="200",route="x"}} 2\\na_total{{code="500",route="x"}} 3\\nb 1.5\\n# HELP b x\\n'
        self.send_response(200); self.end_headers(); self.wfile.write(text.encode())
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit({status}))
print({says!r}, flush=True)
http.server.HTTPServer(('127.0.0.1', port), Admin).serve_forever()
"""


@pytest.fixture
def fake_worker(tmp_path, monkeypatch):
    """A stand-in for the worker that says what the test wants in its log: for the checks, not for the product."""
    def make(says="msg=hello", status=0):
        build = tmp_path / "build"
        build.mkdir()
        program = build / "signup-worker"
        program.write_text(FAKE_WORKER.format(python=sys.executable, says=says, status=status))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("SIGNUP_BUILD", str(build))
        return Worker(tmp_path, {"log": {"level": "info"}}).start()
    return make


def test_worker_wrapper_starts_reads_and_stops(fake_worker):
    worker = fake_worker()
    worker.wait_log("msg=hello")
    assert worker.metric("a_total") == 5 and worker.metric("a_total", code="500") == 3 and worker.metric("b") == 1.5
    assert worker.metric("c") is None and worker.rss_bytes() > 1 << 20
    worker.restart()
    check_workers([worker], LogCheck())
    assert not worker.is_running() and worker.log_text().count("hello") == 2


@pytest.mark.parametrize("says, status", [("phone=+12125550100", 0), ("key trk_secret", 0), ("x: Assertion `y' failed", 0),
                                          ("msg=fine", 3)])
def test_worker_with_a_bad_log_or_exit_fails_its_test(fake_worker, says, status):
    check = LogCheck()
    check.add_secret("trk_secret")
    check.add_phone("+12125550100")
    worker = fake_worker(says, status)
    worker.wait_log(says.split("`")[0].replace("+", r"\+"))
    with pytest.raises(AssertionError):
        check_workers([worker], check)
    assert not worker.is_running()


def test_yaml_of_a_configuration():
    assert to_yaml({"validation": {"mode": "off"}, "kafka": {"topics": ["a", "b"], "properties": {}},
                    "policy": {402: "dead"}, "retry": {"fuse": 20}, "postgres": {"auto_migrate": True}}) == (
        'validation:\n  mode: "off"\nkafka:\n  topics: ["a", "b"]\n  properties: {}\npolicy:\n  "402": "dead"\n'
        'retry:\n  fuse: 20\npostgres:\n  auto_migrate: true')


def test_environment_of_a_worker_is_clean(monkeypatch):
    from signup_harness.process import clean_environment
    monkeypatch.setenv("SIGNUP_KAFKA_BROKERS", "elsewhere:1")
    monkeypatch.setenv("https_proxy", "http://elsewhere:1")
    environment = clean_environment({"SIGNUP_LOG_LEVEL": "debug"})
    assert "SIGNUP_KAFKA_BROKERS" not in environment and "https_proxy" not in environment
    assert environment["SIGNUP_LOG_LEVEL"] == "debug" and environment["PATH"] == os.environ["PATH"]
