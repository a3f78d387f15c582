"""Chaos tests use the servers and the questions of the integration tests."""
import pathlib
import sys

sys.dont_write_bytecode = True
tests = pathlib.Path(__file__).resolve().parent.parent
for folder in ("harness", "integration"):
    sys.path.insert(0, str(tests / folder))

# pylint: disable=unused-import,wrong-import-position
from signup_harness.fixtures import (  # noqa: E402,F401
    broker, ledger, log_check, postgres, pytest_configure, pytest_runtest_makereport, pytest_terminal_summary, server_folder,
    shared_sim, sim, topics, worker, worker_config, workers)
