"""Integration tests run the real worker against real servers; everything they use is in tests/harness."""
import pathlib
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "harness"))

# pylint: disable=unused-import,wrong-import-position
from signup_harness import ContactsSim, PostgresNode, fixtures  # noqa: E402
from signup_harness.fixtures import (  # noqa: E402,F401
    broker, ledger, log_check, postgres, pytest_runtest_makereport, pytest_sessionfinish, pytest_terminal_summary,
    pytest_testnodedown, server_folder, shared_sim, sim, topics, worker, worker_config, workers)


def pytest_configure(config):
    fixtures.pytest_configure(config)
    config.addinivalue_line("markers", "sanitized: runs against the build with sanitizers, too")


@pytest.fixture(scope="session")
def shared_book_sim(server_folder):
    sim = ContactsSim(server_folder / "contacts-with-bodies", options=["--book-bodies"])
    yield sim
    sim.close()


@pytest.fixture
def book_sim(shared_book_sim):
    """A simulator whose book has the bodies, too: point a worker at it with **api(book_sim)."""
    shared_book_sim.fresh()
    return shared_book_sim


@pytest.fixture
def api():
    """api(sim): the part of a worker's configuration that names this simulator."""
    return lambda sim: {"contacts_api": {"base_url": sim.base_url(), "validation_url": sim.validation_url()}}


@pytest.fixture
def more_topics(broker, topics):
    """more_topics("crm", "form"): {name: topic}, topics beside the source, whose names end so; a worker reads them when
    its configuration says kafka={"topics": [...]}."""
    def make(*names):
        made = {}
        for name in names:
            made[name] = broker.create_topic(f"{topics.source.name}.{name}", 1)
            made[name].log_check = topics.source.log_check
        return made
    return make


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory):
    """A cluster that the tests of one file may stop, kill and suspend. It is up again for each of them."""
    node = PostgresNode(tmp_path_factory.mktemp("own") / "postgres")
    yield node
    node.close()
