"""Chaos tests use the servers and the questions of the integration tests. The mark `long` is for what only the long run
does; SIGNUP_CHAOS_SEED repeats a run's choices."""
import os
import pathlib
import random
import sys
import types

import pytest

sys.dont_write_bytecode = True
here = pathlib.Path(__file__).resolve().parent
for folder in (here.parent / "harness", here.parent / "integration", here):
    sys.path.insert(0, str(folder))

# pylint: disable=unused-import,wrong-import-position
from signup_harness import ContactsSim, fixtures  # noqa: E402
from scene import scene  # noqa: E402,F401
from signup_harness.fixtures import (  # noqa: E402,F401
    broker, ledger, log_check, postgres, pytest_runtest_makereport, pytest_terminal_summary, server_folder, shared_sim, sim,
    topics, worker, worker_config, workers)


def pytest_configure(config):
    fixtures.pytest_configure(config)
    config.addinivalue_line("markers", "long: only in the long run")


def pytest_collection_modifyitems(config, items):
    if config.option.markexpr or os.environ.get("SIGNUP_CHAOS_LENGTH") == "long":
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture
def length():
    """What this run may take: `long`, and what `run` was told on its command line."""
    def number(name):
        return float(os.environ[name]) if os.environ.get(name) else None
    kills = number("SIGNUP_CHAOS_KILLS")
    return types.SimpleNamespace(long=os.environ.get("SIGNUP_CHAOS_LENGTH") == "long",
                                 kills=None if kills is None else int(kills), minutes=number("SIGNUP_CHAOS_MINUTES"))


@pytest.fixture
def seed(capsys):
    chosen = int(os.environ.get("SIGNUP_CHAOS_SEED") or random.SystemRandom().randrange(1, 1 << 31))
    with capsys.disabled():
        print(f"\n    SIGNUP_CHAOS_SEED={chosen}", end="")
    return chosen


@pytest.fixture
def book_sim(tmp_path, log_check):
    """A simulator whose book holds the bodies."""
    simulator = ContactsSim(tmp_path / "contacts", options=["--book-bodies"])
    log_check.add_secret(simulator.key)
    yield simulator
    simulator.close()
