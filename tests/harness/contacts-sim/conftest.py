"""One simulator for all tests of a file, forgetful between them; others on demand."""
import pytest

from simtest import Sim


@pytest.fixture(scope="module")
def shared_sim(tmp_path_factory):
    sim = Sim(tmp_path_factory.mktemp("sim"), "--book-bodies")
    yield sim
    sim.stop()


@pytest.fixture
def sim(shared_sim):
    shared_sim.control("POST", "/_sim/reset")
    with open(shared_sim.book_path, "w", encoding="utf-8"):
        pass  # the simulator appends: an emptied book starts anew
    return shared_sim


@pytest.fixture
def start_sim(tmp_path):
    started = []

    def start(*options, **more):
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Sim(folder, *options, **more))
        return started[-1]

    yield start
    for one in started:
        if one.process.returncode is None:
            one.stop()
