"""Runs the scenarios of server faults side by side: most of a scenario is waiting, and a test each in a row would wait for
hours.

A scenario is a test function that takes a Stage. The first test of a session that asks for a result starts all that were
selected, a few at a time; those of one lane (they break a server that they share) one after the other."""
import concurrent.futures
import os
import time

import pytest

from faults_stage import Stage

SIDE_BY_SIDE = 5
LONG = os.environ.get("SIGNUP_CHAOS_LENGTH") == "long"
_CREW = pytest.StashKey["Crew"]()


def lasts(short, long):
    """Seconds of an outage: the true ones in a long run, enough to see the same thing otherwise."""
    return long if LONG else short


def scenario(lane=None, server=None, early=False, **options):
    """Makes a test of a function that takes a Stage. `server(servers)` makes what the lane shares, once; the stage has
    it as `stage.shared`. `early`: it takes so long that it must begin before the others. `options` are the Stage's."""
    def wrap(body):
        def test(crew):
            crew.result_of(test)
        test.__name__, test.__qualname__, test.__doc__, test.__module__ = (body.__name__, body.__name__, body.__doc__,
                                                                          body.__module__)
        test.scenario = Scenario(body, lane, server, early, options)
        return test
    return wrap


class Scenario:
    def __init__(self, body, lane, server, early, options):
        self.body, self.lane, self.server, self.early, self.options = body, lane, server, early, options


class Crew:
    def __init__(self, session, servers):
        self.servers, self.shared, self.pools = servers, {}, {}
        self.results = {}
        tests = [item.function for item in session.items
                 if hasattr(getattr(item, "function", None), "scenario") and not item.get_closest_marker("skip")]
        for test in sorted(tests, key=lambda test: not test.scenario.early):
            self.results[test] = self._pool(test.scenario.lane).submit(self._run, test)

    def _pool(self, lane):
        if lane not in self.pools:
            self.pools[lane] = concurrent.futures.ThreadPoolExecutor(1 if lane else SIDE_BY_SIDE, f"scenario-{lane}")
        return self.pools[lane]

    def _run(self, test):
        began = time.monotonic()
        one = test.scenario
        if one.server and one.lane not in self.shared:
            self.shared[one.lane] = one.server(self.servers)
        stage = Stage(test.__name__, self.servers, shared=self.shared.get(one.lane), **one.options)
        try:
            one.body(stage)
            stage.end()
        except BaseException as error:
            error.add_note(stage.illustrate())
            stage.close()
            raise
        problems = stage.close()
        assert not problems, problems
        return [f"{time.monotonic() - began:.1f} s", *stage.said]

    def result_of(self, test):
        return self.results[test].result()

    def close(self):
        for pool in self.pools.values():
            pool.shutdown(wait=True, cancel_futures=True)
        for shared in self.shared.values():
            shared.close()


@pytest.fixture
def crew(request, broker, postgres, server_folder, capsys):
    """The crew of this session; a test waits for its own scenario only, and prints what that has to say."""
    session = request.session
    if _CREW not in session.stash:
        session.stash[_CREW] = Crew(session, Servers(broker, postgres, server_folder))
        session.addfinalizer(session.stash[_CREW].close)
    yield Spokesman(session.stash[_CREW], capsys)


class Servers:
    """What all scenarios share and none may break."""

    def __init__(self, broker, postgres, folder):
        self.broker, self.postgres, self.folder = broker, postgres, folder


class Spokesman:
    def __init__(self, crew, capsys):
        self.crew, self.capsys = crew, capsys

    def result_of(self, test):
        said = self.crew.result_of(test)
        with self.capsys.disabled():
            print(f"\n    {'; '.join(said)}", end="")
