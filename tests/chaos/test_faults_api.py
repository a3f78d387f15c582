"""The contacts API misbehaves, rows 23, 36 to 52 and 72 of the fault matrix: it is away, slow, silent, speaks nonsense,
refuses the key, the bill or the pace. Nobody is dead of it, nobody is enrolled twice, the order holds, and the worker says
what it waits for."""
import email.utils
import threading
import time

import pytest

from faults_crew import crew, lasts, scenario  # pylint: disable=unused-import
from faults_stage import IN_FLIGHT, LATENCY_MS, answer, gaps_s
from faults_network import NAME, Authority, NameServer, TlsFront, WorkerOfNameServer, may_mount
from results import not_here
from signup_harness import ContactsSim, wait_until
from signups import Suspended, bodies, calls, event, phone

QUICK = {"inline_base": "20ms", "inline_cap": "200ms"}
SHARED = 2.0  # this machine is shared: a bound is held against so many times itself
PROBE_SLACK = 2
MAX_LIFETIME_S = 300  # of a connection; the name is asked for anew a minute after it was asked for the last time
BUNDLE_KEPT_S = 300
TELLS_AWAY = "the contacts API fails for everybody"


def count_calls(worker):
    """Upserts and contacts that were read back: a probe may be either."""
    return worker.metric("signup_calls_total") + worker.metric("signup_reads_total")


# --- away, slow, silent ---

@scenario()
def test_api_refuses(stage):
    """Connections are refused for longer than max.poll.interval: the breaker opens, probes at most one a second, intake
    pauses, the member stays in its group, and the rate is back within seconds."""
    seconds = lasts(6, 1800)
    how = f"proxy refuses for {seconds} s"
    with stage.row(23, "API away for longer than max.poll.interval", how + "; max.poll.interval 2.5 s") as stays, \
            stage.row(36, "API refuses connections", how) as found:
        proxy, api = stage.api_proxy()
        worker = stage.worker(contacts_api=api, kafka={"properties": {"session.timeout.ms": 2000, "max.poll.interval.ms": 2500}})
        stage.stream(2400)
        rate = stage.wait_steady()
        joined = len(stage.lines(worker, "assigned"))
        proxy("refuse", "rst")
        stage.sees(worker, "contacts_api: transport", "upsert", TELLS_AWAY)
        before, status = count_calls(worker), worker.status()
        assert not status["intake"]["open"] and status["intake"]["why"]
        stage.outage(seconds)
        probes = count_calls(worker) - before
        assert 1 <= probes <= seconds + PROBE_SLACK, probes
        assert worker.metric("signup_assigned_partitions") == 4 and len(stage.lines(worker, "assigned")) == joined
        stage.nobody_dead()
        since = time.time()
        proxy("listen")
        stays.recovery(stage.recovered(found, since, rate, 5, SHARED), 10)
        stage.stream_ends()
        stage.drained()
        assert {one["attempts"] for one in stage.ledger.rows("NOT maybe_sent")} == {1}
        found.note(f"{probes:.0f} probes in {seconds} s, 0 dead")
        stays.note("same membership throughout")


@scenario()
def test_api_is_slow(stage):
    """A tail of slow answers, then nothing but slow ones: never more calls at a time than the limit, memory bounded."""
    with stage.row(37, "slow tail, then everything slow",
                   f"5 % of the answers after 1.5 s, then all of them for {lasts(3, 30)} s") as found:
        worker = stage.worker()
        stage.stream(2400)
        rate = stage.wait_steady()
        stage.sim.fault({"kind": "answer", "delay_ms": 1500}, op="upsert", probability=0.05)
        stage.outage(2)
        tail = stage.effects.rate(time.time() - 1, time.time())
        stage.sim.latency(1500)
        stage.outage(lasts(3, 30))
        limit = worker.metric("signup_gate_limit", route="upsert")
        since = time.time()
        stage.sim.clear_faults()
        stage.sim.latency(LATENCY_MS)
        stage.recovered(found, since, rate, 5, SHARED)
        stage.stream_ends()
        stage.drained()
        assert most_at_once(stage.sim) <= IN_FLIGHT
        found.note(f"{rate:.0f} a second, {tail:.0f} with the tail, at most {most_at_once(stage.sim)} calls at once, "
                   f"limit {limit:.0f} when all were slow")


def most_at_once(sim):
    """Calls under way at the same time, by the simulator's book."""
    steps = []
    for line in sim.book(op="upsert"):
        if line["phase"] == "received":
            steps.append((line["at_us"], 1))
        elif line["phase"] in ("answered", "dropped", "client_gone"):
            steps.append((line["at_us"], -1))
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


@scenario()
def test_api_is_silent(stage):
    """The API takes requests and says nothing, without an end of the connection (suspended; then the cable is cut): each
    call ends by its own time, its fate is unknown, the resend is guarded, and nobody is enrolled twice when the silent
    server wakes up and does what it was asked."""
    seconds = lasts(3, 60)
    with stage.row(38, "half-open, no FIN",
                   f"SIGSTOP of the API for {seconds} s, then a blackhole in the proxy for {seconds} s") as found:
        proxy, api = stage.api_proxy()
        worker = stage.worker(contacts_api={**api, "timeout": "800ms", "connect_timeout": "500ms"})
        stage.stream(2600)
        rate = stage.wait_steady()
        for name, begin, end in (("suspended", stage.sim.pause, stage.sim.resume),
                                 ("cut", lambda: proxy("blackhole both"), lambda: proxy("rst", "pass"))):
            begin()
            try:
                stage.produce(20, first=len(stage.produced))  # contacts that nobody has seen yet
                worker.wait_not_ready(reason="contacts_api: transport")
                stage.outage(seconds)
            finally:
                since = time.time()
                end()
            took = stage.recovered(found, since, rate, 5, SHARED)
            found.note(f"{name}: {took:.1f} s")
            worker.wait_ready()
        stage.stream_ends()
        stage.drained(overlap=True)
        unknown = stage.ledger.rows("maybe_sent")
        assert unknown and all(one["request"]["skip_journey_if_exists"] for one in unknown)
        found.note(f"{len(unknown)} of unknown fate resolved")


# --- one bad answer of each kind ---

def bad_answers(stage, found, actions, each=4, times=1, **options):
    """Each action befalls `each` events `times` times, amid events that have no trouble (else the breaker would open): all
    are accepted, the calls may have taken effect and are resent guarded, each try is known to the ledger. Returns the
    worker and {name: [event id]}."""
    worker = stage.worker(retry=QUICK, **options)
    rules, events, ids = [], [], {}
    for name, action in actions.items():
        ids[name] = []
        for _ in range(each):
            number = len(events)
            events.append(event(number, skip_journey_if_exists=False))
            ids[name].append(f"e-{number}")
            rules.append({"op": "upsert", "phone": phone(number), "count": times, "action": action})
    sound = [event(len(events) + number, skip_journey_if_exists=False) for number in range(10 * len(events) + 100)]
    stage.sim.faults(rules)
    stage.sim.latency(5)
    mixed = [one for index, bad in enumerate(events) for one in (bad, *sound[10 * index:10 * index + 10])]
    began = time.time()
    stage.publish(mixed + sound[10 * len(events):])
    stage.drained()
    found.recovery(time.time() - began)
    sent = bodies(stage.sim)
    for name, names in ids.items():
        for one in names:
            tries, found_row = stage.tries(one)
            mine = sent[phone(int(one[2:]))]
            assert tries == len(mine) == times + 1, (name, one, tries, len(mine))
            assert found_row["maybe_sent"], (name, found_row)
            assert [body["skip_journey_if_exists"] for body in mine] == [False] + [True] * times, name
            assert ("worker", "journey_resend_guarded") in stage.ledger.warnings(one), name
    found.note(f"{len(actions)} kinds, {each * len(actions)} events amid {len(sound)} sound ones")
    return worker, ids


@scenario()
def test_resets(stage):
    """RST after the request (done or not), within the headers, within the body; and, unknown to whom, at accept, before the
    request is read and after the answer."""
    with stage.row(39, "RST at each place", "simulator") as found:
        bad_answers(stage, found, {
            "after the request": {"kind": "reset", "at": "after_request", "apply": False},
            "after the request, done": {"kind": "reset", "at": "after_request", "apply": True},
            "in the headers": {"kind": "reset", "at": "in_headers"},
            "in the body": {"kind": "reset", "at": "in_body"}})
        for place in ("accept", "before_read", "after_response"):
            stage.sim.clear_faults()
            stage.sim.fault({"kind": "reset", "at": place}, count=5)
            if place == "accept":  # no connection is kept: each call meets a new one
                stage.sim.fault({"kind": "close", "at": "after_response"}, op="upsert")
            first = len(stage.produced)
            for burst in range(3):
                stage.produce(20, first=first + 20 * burst)
                stage.wait_accepted(first + 20 * (burst + 1))
            stage.drained()
            rule = stage.sim.control("GET", "/_sim/faults")[0]
            assert rule["fired"] == 5, (place, rule)


@scenario()
def test_keep_alive_race(stage):
    """Connections end while the next request is on its way: the library repeats none by itself; every POST that the API
    saw is a try that the ledger knows."""
    with stage.row(40, "keep-alive race",
                   "simulator: FIN 1 ms after an answer; FIN or RST upon a request on a used connection") as found:
        stage.worker(retry=QUICK)
        stage.sim.faults([{"op": "upsert", "probability": 0.2, "action": {"kind": "idle_close", "late_ms": 1}}])
        count = 0
        for burst in range(12):
            first = len(stage.produced)
            for kind, number in (("close", first), ("reset", first + 1), ("close", first + 12), ("reset", first + 13)):
                stage.sim.faults([{"op": "upsert", "phone": phone(number), "count": 1, "reused": True,
                                   "action": {"kind": kind, "at": "after_request", "apply": True}}])
            stage.produce(25, first=first)
            stage.wait_accepted(first + 25)
            count = first + 25
        stage.drained()
        sent = bodies(stage.sim)
        for name in stage.produced:
            tries, found_row = stage.tries(name)
            mine = sent[phone(int(name[2:]))]
            assert len(mine) <= tries, (name, len(mine), tries)
            assert not any(not body["skip_journey_if_exists"] for body in mine[1:]), name
            assert len(mine) == 1 or found_row["maybe_sent"]
        repeated = sum(len(mine) - 1 for mine in sent.values())
        assert repeated >= 10, "the race was not met"
        found.note(f"{count} events, {repeated} POSTs repeated, all known")


@scenario()
def test_answers_that_nobody_asked_for(stage):
    """A second answer, or an idle 408, arrives on a kept connection: it is never taken for the answer to another event."""
    with stage.row(41, "late second answer, idle 408", "simulator") as found:
        worker = stage.worker(retry=QUICK)
        stage.sim.latency(4 * LATENCY_MS)
        stage.sim.faults([{"op": "upsert", "probability": 0.3, "action": {"kind": "late_response", "late_ms": 2}},
                          {"op": "upsert", "probability": 0.4, "action": {"kind": "idle_408", "late_ms": 2}}])
        for _ in range(25):
            # No more at a time than there are connections, all on their way before the first is answered, and the next only
            # when all that nobody asked for has come: what comes while a request is under way no client can tell from its
            # answer.
            with Suspended(stage.sim.process.pid):
                stage.produce(IN_FLIGHT, first=len(stage.produced))
                wait_until(lambda: worker.metric("signup_calls_in_flight") == IN_FLIGHT, 9, "all on their way")
            stage.wait_accepted(len(stage.produced))
            wait_until(lambda: len(stage.sim.book("unsolicited"))
                       == sum(bool(line.get("fault")) for line in stage.sim.book("received", op="upsert")), 20,
                       "what nobody asked for")
        stage.drained()
        rows = stage.ledger.rows()
        wrong = [one["event_id"] for one in rows if one["contact_id"] == "c999999999"]
        assert not wrong and len({one["contact_id"] for one in rows}) == len(rows), wrong
        unasked = len(stage.sim.book("unsolicited"))
        assert unasked >= 20, "hardly any"
        found.note(f"{unasked} unasked answers over {len(rows)} events, none attributed")


@scenario()
def test_nonsense(stage):
    """What is no HTTP, impossible statuses, two lengths, a NUL, megabytes of headers: of unknown fate, resent guarded."""
    with stage.row(42, "garbage", "simulator") as found:
        bad_answers(stage, found, {
            "garbage": {"kind": "garbage"}, "099": answer(99), "999": answer(999),
            "two lengths": {"kind": "duplicate_length", "second_length": 7}, "NUL": {"kind": "nul_header"},
            "2 MB of headers": {"kind": "big_headers"}, "one line of 2 MB": {"kind": "big_headers", "one_line": True}})


@scenario()
def test_huge_bodies(stage):
    """A hundred megabytes of body, announced or not, a gzip bomb, no gzip at all: cut off, memory bounded."""
    with stage.row(43, "huge bodies, gzip bomb", "simulator") as found:
        bad_answers(stage, found, {
            "announced": {"kind": "huge_body"}, "not announced": {"kind": "huge_body", "content_length": False},
            "gzip bomb": {"kind": "gzip_bomb"}, "no gzip": {"kind": "bad_gzip"}}, each=6)
        stage.memory.look()
        found.note(f"RSS at most {stage.memory.peak >> 20} MiB")


@scenario()
def test_slow_to_the_byte(stage):
    """Headers or body byte by byte, 100 Continue without end: the call ends at its time, not a second later."""
    with stage.row(44, "slowloris, endless 100 Continue", "simulator; contacts_api.timeout 1 s") as found:
        _, ids = bad_answers(stage, found, {
            "headers": {"kind": "trickle", "at": "in_headers", "step_ms": 100},
            "body": {"kind": "trickle", "at": "in_body", "step_ms": 100},
            "100 Continue": {"kind": "continue", "step_ms": 50}}, each=2, times=1, contacts_api={"timeout": "1s"})
        took = [stage.ledger.attempts(one)[0]["duration_ms"] for names in ids.values() for one in names]
        assert all(950 <= one <= 2000 * SHARED for one in took), took
        found.note(f"ended after {min(took)} to {max(took)} ms")


@scenario()
def test_bodies_that_are_no_success(stage):
    """2xx without a body, with a web page, with `success` false or missing, or ids that are none: no success, of unknown
    fate."""
    def body(text):
        return {"kind": "answer", "status": 200, "body": text, "apply": True}
    with stage.row(46, "200 that is no success", "simulator") as found:
        bad_answers(stage, found, {
            "empty": {"kind": "empty_body"}, "web page": {"kind": "html_body"}, "success false": {"kind": "success_false"},
            "half": {"kind": "truncated_body"}, "a list": body("[]"), "no success": body('{"contact_id": "c1"}'),
            "success as text": body('{"success": "true", "contact_id": "c1"}')}, each=2)
        # Of unknown fate, and what is read back is no better: another contact's, a web page, nothing.
        first = len(stage.produced)
        readings = [{"kind": kind} for kind in ("wrong_contact", "html_body", "empty_body", "garbage", "success_false")]
        for number, reading in enumerate([*readings, answer(500), answer(404, "not_found")], first):
            stage.sim.faults([{"op": "upsert", "phone": phone(number), "count": 1, "action": answer(500, apply=True)},
                              {"op": "read", "phone": phone(number), "count": 1, "action": reading}])
        stage.produce(len(readings) + 2, first=first)
        stage.drained()
        assert all(stage.tries(f"e-{number}")[0] == 2 for number in range(first, len(stage.produced)))


# --- refusals that are everybody's ---

@scenario()
def test_redirects(stage):
    """301, 302 and 307 to another server are not followed: the route is held and says so, the key never goes there."""
    elsewhere = stage.closes(ContactsSim(stage.folder / "elsewhere"))
    with stage.row(45, "redirected elsewhere", "simulator") as found:
        worker = stage.worker()
        for status in (301, 302, 307):
            stage.sim.fault({"kind": "redirect", "status": status, "location": elsewhere.base_url() + "/contacts"}, op="upsert",
                            count=1)
        stage.sim.fault({"kind": "redirect", "status": 301, "location": elsewhere.base_url() + "/contacts"}, op="upsert")
        stage.produce(100)
        stage.sees(worker, "contacts_api: misrouted", "upsert", TELLS_AWAY)
        wait_until(lambda: len(calls(stage.sim)) >= 3, 20, "two probes")
        assert len(calls(stage.sim)) <= 3 + IN_FLIGHT
        stage.nobody_dead()
        since = time.time()
        stage.sim.clear_faults()
        stage.recovered(found, since, None, 5, SHARED)
        stage.drained()
        assert not [line for line in elsewhere.book() if line["phase"] != "control"], "somebody was led there"
        assert {one["attempts"] for one in stage.ledger.rows()} == {1}
        found.note("0 requests there, 0 attempts spent")


@scenario()
def test_key_is_revoked_and_rotated(stage):
    """The key is refused in the middle of a stream: nobody is dead, no attempt is spent, at most one probe a second; a
    missing and an unreadable key file change nothing; the new key in the file is taken up without a restart."""
    new_key = "trk_" + "N" * 32
    with stage.row(47, "401 storm, key rotated mid-run", "simulator forgets the key; then the key file is replaced") as found, \
            stage.row(72, "the secret is missing or unusable when it is read again",
                      "key file removed, then empty, while the key is refused") as kept:
        worker = stage.worker()
        stage.stream(1600)
        rate = stage.wait_steady()
        stage.sim.keys(new_key)
        stage.sees(worker, "contacts_api: unauthorized", "upsert", TELLS_AWAY)
        mark = len(calls(stage.sim))
        stage.key_file.unlink()
        worker.wait_log("the API key could not be read again; the old one stays in use")
        stage.key_file.write_text("\n")
        stage.outage(lasts(3, 60))
        assert worker.is_running()
        storm = calls(stage.sim)[mark:]
        assert storm and min([9.0, *gaps_s(storm[1:])]) >= 0.75, gaps_s(storm)
        stage.nobody_dead()
        since = time.time()
        stage.set_key(new_key)
        stage.recovered(found, since, rate, 5, SHARED)
        kept.recovery(found.recovery_s)
        stage.stream_ends()
        stage.drained()
        assert {one["attempts"] for one in stage.ledger.rows()} == {1}
        found.note(f"{len(storm)} probes, 0 attempts spent, 0 dead")
        kept.note("the old key stayed in use, said once a try")


@scenario()
def test_bill_is_unpaid(stage):
    """402 for whoever asks for validation: these wait in steps without calling, the others flow, the order of a contact
    with both kinds holds, nobody is dead; paid again, all go."""
    step = 2
    with stage.row(48, "402 storm", f"simulator refuses validation; billing_step {step} s") as found:
        worker = stage.worker(retry={"billing_step": f"{step}s"})
        stage.sim.billing("payment_failed")
        events = []
        for number in range(400):
            events.append(event(number % 100, event_id=f"e-{number}", custom_fields={"seq": number},
                                use_validation=number % 100 < 50 or None))
        stage.publish(events)
        stage.wait_accepted(200)  # those that do not ask
        worker.wait_log("(?i)billing|402")
        gate = wait_until(lambda: next((one for one in worker.status()["gates"]
                                        if one["route"] == "validate" and not one["open"]), None), 10, "the gate in /status")
        assert "402" in gate["why"] or "billing" in gate["why"] or "payment_failed" in gate["why"], gate
        stage.outage(2 * step + 1)
        refused = stage.sim.stats()["calls"]["upsert"]["by_status"].get("402", 0)
        assert 1 <= refused <= IN_FLIGHT + 4, f"{refused} calls that could only be refused"
        states = stage.states()
        assert states == {"accepted": 200, "parked": 200}, states
        since = time.time()
        stage.sim.billing(None)
        stage.drained(timeout=30)
        found.recovery(time.time() - since, (step + 5) * SHARED)
        found.note(f"{refused} refused calls for 200 waiting events in {2 * step + 1} s, 200 others flowed")


@scenario()
def test_throttled(stage):
    """429 with each kind of Retry-After: nobody of the route is called before the time that was asked for, clamped; none of
    it leads to a storm."""
    def later(seconds):
        return email.utils.formatdate(time.time() + seconds, usegmt=True)
    # name, Retry-After, seconds before which nobody may be called, seconds after which somebody must be
    kinds = [("seconds", lambda: "1", 1.0, 3.5), ("date to come", lambda: later(2), 0.9, 4.5),
             ("date gone by", lambda: later(-3600), 0, 2.5), ("1e18", lambda: "1" + 18 * "0", 1.5, 4.0),
             ("no number", lambda: "soon", 0, 2.5), ("negative", lambda: "-5", 0, 2.5), ("none", lambda: None, 0, 2.5)]
    with stage.row(49, "429 with each kind of Retry-After", "simulator; retry_after_cap 1.5 s") as found:
        worker = stage.worker(retry={"retry_after_cap": "1500ms", "inline_cap": "2s"})
        waits = {}
        for name, header, least, most in kinds:
            first = len(stage.produced)
            text = header()
            stage.sim.fault(answer(429, "rate_limited", **({"headers": {"Retry-After": text}} if text is not None else {})),
                            op="upsert", count=1)
            began = len(calls(stage.sim))
            stage.produce(1, first=first)
            wait_until(lambda: len(calls(stage.sim)) > began, 10, "the call")
            stage.produce(12, first=first + 1)
            stage.wait_accepted(first + 13)
            lines = calls(stage.sim)[began:]
            wait = (lines[1]["at_us"] - lines[0]["at_us"]) / 1e6
            waits[name] = wait
            assert least <= wait <= most * SHARED, (name, wait)
            assert len(lines) == 14, (name, len(lines))
        stage.drained()
        assert {one["attempts"] for one in stage.ledger.rows()} == {1}
        assert worker.is_running()
        found.recovery(max(waits.values()))
        found.note(", ".join(f"{name} {wait:.1f} s" for name, wait in waits.items()))


@scenario()
def test_a_third_fails(stage):
    """30 % of the answers are 500, 502, 503 or 504, half of them of calls that took effect: nobody is dead, nobody is
    enrolled twice, waits are drawn and grow; the unlucky ones are parked and come back."""
    with stage.row(50, "mix of 500, 502, 503, 504, 30 % of the answers", "simulator") as found:
        stage.worker(retry={"inline_base": "50ms", "inline_cap": "400ms", "inline_attempts": 3},
                     contacts_api={"max_in_flight": 64})
        chance = [0.3 / 8 / (1 - 0.3 / 8 * done) for done in range(8)]
        page = {"body": "<html>of a proxy</html>"}
        # A 503 with the API's own code says that nothing was done; that of a proxy on the way says nothing.
        kinds = [answer(500, "internal_error"), answer(500, "internal_error", apply=True), answer(502, **page),
                 answer(502, **page, apply=True), answer(503, "provider_error"), answer(503, **page, apply=True),
                 answer(504, **page), answer(504, **page, apply=True)]
        stage.sim.faults([{"op": "upsert", "probability": share, "action": action} for share, action in zip(chance, kinds)])
        began = time.time()
        stage.produce(1200, contacts=600)
        stage.drained(timeout=60)
        found.recovery(time.time() - began)
        failed = sum(count for status, count in stage.sim.stats()["calls"]["upsert"]["by_status"].items() if status[0] == "5")
        tries = stage.ledger.query("SELECT event_id, at FROM {schema}.attempt ORDER BY event_id, attempt")
        waits = [(b["at"] - a["at"]).total_seconds() for a, b in zip(tries, tries[1:]) if a["event_id"] == b["event_id"]]
        assert len({round(wait, 3) for wait in waits}) > 50, "the waits are not drawn"
        parked = len([one for one in stage.ledger.rows() if one["attempts"] > 3])
        assert parked, "nobody was unlucky enough"
        found.note(f"{failed} failures over 1200 events, {parked} events parked on the way, 0 dead")


# --- the way there ---

class Heart:
    """Asks /livez all the time: how long the worker took at most."""

    def __init__(self, worker):
        self.worker, self.slowest, self.over = worker, 0.0, threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)
        self.thread.start()

    def _beat(self):
        while not self.over.wait(0.03):
            began = time.monotonic()
            if self.worker.get("/livez")[0] == 200:
                self.slowest = max(self.slowest, time.monotonic() - began)

    def close(self):
        self.over.set()
        self.thread.join(10)


@scenario(early=True)
def test_names(stage):
    """The name server keeps silent, then knows no such name, then answers; later the name moves to another address and the
    old one is dead: the loop is never held up, nobody is dead, the new address is found."""
    fault = "name server silent, name unknown, address changed"
    if not may_mount():
        not_here(51, fault, "needs root: a mount namespace and a name server on port 53")
        return
    with stage.row(51, fault,
                   "own resolv.conf in a mount namespace, own name server; TLS front on 127.0.0.1, then 127.0.0.2") as found:
        authority = Authority(stage.folder)
        names = stage.closes(NameServer())
        front = stage.closes(TlsFront(stage.sim.port, authority.context()))
        base = f"https://{NAME}:{front.port}/api"
        stage.stream(1200)
        worker = stage.worker(kind=WorkerOfNameServer.of(names), ready=False, contacts_api={
            "base_url": base + "/v2", "validation_url": base + "/v1", "ca_file": str(authority.certificate),
            "connect_timeout": "1s"})
        heart = stage.closes(Heart(worker))
        stage.sees(worker, "contacts_api: transport", "upsert", TELLS_AWAY)
        names.address = ""
        stage.outage(lasts(2, 30))
        stage.nobody_dead()
        assert not calls(stage.sim) and names.asked
        since = time.time()
        names.address = "127.0.0.1"
        stage.recovered(found, since, None, 5, SHARED)
        rate = stage.wait_steady()
        stage.closes(TlsFront(stage.sim.port, authority.context(), host="127.0.0.2", port=front.port))
        names.address = "127.0.0.2"
        since = time.time()
        front.close()
        found.note(f"silent, then unknown: well {found.recovery_s:.1f} s after the answer")
        took = stage.recovered(found, since, rate, MAX_LIFETIME_S, 1)
        stage.stream_ends()
        stage.drained()
        assert heart.slowest < 2, f"{heart.slowest}: the resolver's own patience is 5 s"
        found.note(f"moved: {took:.1f} s; /livez never above {1000 * heart.slowest:.0f} ms")


@scenario()
def test_certificates(stage):
    """An expired certificate, one for another name, one of a stranger, a handshake that is never answered: nothing is sent,
    the route waits and says why, nobody is dead; with a good one it goes on. A rotated one is not even noticed."""
    with stage.row(52, "TLS: expired, wrong name, strange issuer, stalled handshake, rotated",
                   "TLS front that shows any certificate") as found:
        authority = Authority(stage.folder)
        front = stage.closes(TlsFront(stage.sim.port, authority.context()))
        base = f"https://127.0.0.1:{front.port}/api"
        worker = stage.worker(contacts_api={"base_url": base + "/v2", "validation_url": base + "/v1", "timeout": "3s",
                                            "ca_file": str(authority.certificate), "connect_timeout": "500ms"})
        stage.stream(1600)
        rate = stage.wait_steady()
        handshakes = front.handshakes
        front.use(authority.context())  # rotated
        stage.wait_accepted(stage.accepted() + 100)
        assert front.handshakes > handshakes and worker.is_ready()

        front.use(authority.context(expired=True))
        stage.sees(worker, "contacts_api: transport: tls", "upsert", TELLS_AWAY)
        mark = len(calls(stage.sim))
        for name, context in (("another name", authority.context("DNS:elsewhere.test")),
                              ("stranger", Authority(stage.folder, "stranger").context()), ("stalled", None)):
            before = count_calls(worker)
            front.use(context)
            wait_until(lambda: count_calls(worker) > before, 10, f"a probe: {name}")
            stage.nobody_dead()
        assert len(calls(stage.sim)) == mark, "something was sent"
        good = authority.context()
        since = time.time()
        front.use(good)
        stage.recovered(found, since, rate, 5, SHARED)
        stage.stream_ends()
        stage.drained()
        attempts = [one["attempts"] for one in stage.ledger.rows()]
        # Only what was under way when the breaker opened can have failed twice before it did.
        assert set(attempts) <= {1, 2, 3} and attempts.count(3) <= IN_FLIGHT
        found.note("0 requests sent meanwhile, 0 dead")


@pytest.mark.long
@scenario(early=True)
def test_authority_is_replaced(stage):
    """The private authority itself is replaced, in the bundle and on the server: taken up without a restart, within the
    time for which the library keeps a bundle."""
    with stage.row(52, "TLS: private authority replaced", "new authority in ca_file and on the front") as found:
        old, new = Authority(stage.folder), Authority(stage.folder, "successor")
        bundle = stage.folder / "bundle.pem"
        bundle.write_bytes(old.certificate.read_bytes())
        front = stage.closes(TlsFront(stage.sim.port, old.context()))
        base = f"https://127.0.0.1:{front.port}/api"
        worker = stage.worker(contacts_api={"base_url": base + "/v2", "validation_url": base + "/v1", "ca_file": str(bundle)})
        stage.produce(50)
        stage.wait_accepted(50)
        front.use(new.context())
        stage.produce(50, first=50)
        stage.sees(worker, "contacts_api: transport: tls", "upsert", TELLS_AWAY)
        since = time.time()
        bundle.write_bytes(new.certificate.read_bytes())
        stage.recovered(found, since, None, BUNDLE_KEPT_S + 5)
        stage.drained()
