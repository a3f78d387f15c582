"""Fixtures of the integration tests: one broker, one PostgreSQL and one simulator a session; the rest fresh per test."""
import pathlib
import types
import uuid

import pytest

from .contacts import ContactsSim
from .kafka import start_broker
from .ledger import Ledger
from .logcheck import LogCheck
from .postgres import PostgresNode
from .process import tail
from .worker import Worker, merge

LOG_LINES_OF_A_FAILURE = 60
_broker_note = []


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def broker(server_folder):
    broker, note = start_broker(server_folder)
    _broker_note.append(note)
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def postgres(server_folder):
    node = PostgresNode(server_folder / "postgres")
    yield node
    node.close()


@pytest.fixture(scope="session")
def shared_sim(server_folder):
    sim = ContactsSim(server_folder / "contacts")
    yield sim
    sim.close()


@pytest.fixture
def sim(shared_sim, request):
    """The contacts simulator, with an empty book and no faults."""
    shared_sim.fresh()
    _show(request, "contacts-sim", lambda: f"book {shared_sim.book_path} from byte {shared_sim.book_from}\n"
                                           f"{tail(shared_sim.log, 10)}")
    return shared_sim


@pytest.fixture
def log_check():
    """Collects what must not appear in the logs of this test's workers."""
    return LogCheck()


@pytest.fixture
def topics(broker, log_check, request):
    """Fresh topics `source` and `dead_letter`, and a name for the `group`; 4 partitions, or what the mark
    @pytest.mark.partitions(N) says."""
    mark = request.node.get_closest_marker("partitions")
    partitions = mark.args[0] if mark else 4
    unique = uuid.uuid4().hex[:10]
    source = broker.create_topic(f"signups-{unique}", partitions)
    dead_letter = broker.create_topic(f"signups-{unique}.dlq", 1)
    source.log_check = log_check
    _show(request, "broker log", broker.log_tail)
    return types.SimpleNamespace(source=source, dead_letter=dead_letter, group=f"worker-{unique}")


@pytest.fixture
def ledger(postgres, log_check, request):
    """The ledger of a fresh database; its schema is the worker's to make."""
    ledger = Ledger(postgres.create_database())
    log_check.add_secret(ledger.dsn.split(":")[2].split("@")[0])
    _show(request, "ledger", ledger.summary)
    _show(request, "PostgreSQL log", postgres.log_tail)
    return ledger


@pytest.fixture
def worker_config(broker, topics, ledger, sim, log_check, tmp_path):
    """A worker's configuration for the servers of this test; lay changes over it with merge()."""
    key_file = tmp_path / "api-key"
    key_file.write_text(sim.key + "\n")
    key_file.chmod(0o600)
    log_check.add_secret(sim.key)
    # The mock cluster lets a second member wait for the session timeout, and never forms a group below 3 s.
    session_ms = 6000 if broker.is_real else 3500
    return {
        "kafka": {"brokers": broker.bootstrap, "topics": [topics.source.name], "group": topics.group,
                  "dead_letter_topic": topics.dead_letter.name,
                  "properties": {"session.timeout.ms": session_ms, "heartbeat.interval.ms": 300}},
        "postgres": {"dsn": ledger.dsn, "auto_migrate": True},
        "contacts_api": {"base_url": sim.base_url(), "validation_url": sim.validation_url(),
                         "key_file": str(key_file)},
        "log": {"level": "info"},
    }


@pytest.fixture
def workers(worker_config, log_check, tmp_path, request):
    """workers(retry={...}, environment={...}, start=True): a worker, stopped and its log checked at the end."""
    made = []

    def make(start=True, environment=None, name=None, **changes):
        worker = Worker(tmp_path, merge(worker_config, changes), environment, name or f"worker{len(made) + 1}")
        made.append(worker)
        _show(request, f"{worker.name} log", lambda: f"{worker.log}, {worker.config_path}\n"
                                                     f"{tail(worker.log, LOG_LINES_OF_A_FAILURE)}")
        return worker.start() if start else worker

    yield make
    check_workers(made, log_check)


@pytest.fixture
def worker(workers):
    """One running worker with the usual configuration."""
    return workers()


def check_workers(made, log_check):
    """Stops what still runs and fails on a bad exit or a bad log."""
    problems = []
    for worker in made:
        if worker.is_running():
            worker.resume()
            try:
                status = worker.stop()
            except Exception as error:  # it must not outlive its test, whatever kept it
                worker.kill()
                problems.append(f"{worker.name} did not stop: {error}")
            else:
                if status != 0:
                    problems.append(f"{worker.name} exited with {status} after SIGTERM")
        problems += [f"{worker.name}: {problem}" for problem in log_check.problems(worker.log_text())]
    assert not problems, "\n".join(problems[:20])


# --- what a failure shows, and the last line ---

_SHOWN = pytest.StashKey[list]()
_SUMMARIZED = pytest.StashKey[bool]()


def _show(request, title, text):
    """Has `text()` shown under `title` if this test fails."""
    request.node.stash.setdefault(_SHOWN, []).append((title, text))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for title, text in item.stash.get(_SHOWN, []):
            try:
                report.sections.append((title, text()))
            except Exception as error:  # the failure itself matters more than its illustration
                report.sections.append((title, f"({type(error).__name__}: {error})"))
        if "tmp_path" in getattr(item, "funcargs", {}):
            report.sections.append(("files", str(pathlib.Path(item.funcargs["tmp_path"]))))


def pytest_configure(config):
    config.addinivalue_line("markers", "partitions(N): partitions of the source topic of this test")


def pytest_sessionfinish(session):
    """One of several processes that share the tests tells the one that sums up."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["broker"] = _broker_note[0] if _broker_note else ""


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    note = getattr(node, "workeroutput", {}).get("broker")
    if note and note not in _broker_note:
        _broker_note.append(note)


def pytest_terminal_summary(terminalreporter):
    # Imported by more than one conftest, it is called for each.
    if not terminalreporter.config.stash.get(_SUMMARIZED, False):
        terminalreporter.config.stash[_SUMMARIZED] = True
        terminalreporter.write_line(f"broker: {_broker_note[0] if _broker_note else 'none was needed'}")
