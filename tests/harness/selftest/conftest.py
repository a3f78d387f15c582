"""The harness is tested by itself: a check that cannot fail, or a fault that is not injected, proves nothing."""
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

# pylint: disable=unused-import,wrong-import-position
from signup_harness.fixtures import (  # noqa: E402,F401
    broker, ledger, log_check, postgres, pytest_configure, pytest_runtest_makereport, pytest_terminal_summary,
    server_folder, shared_sim, sim, topics, worker, worker_config, workers)
