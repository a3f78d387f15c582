"""The admin endpoints: what probes, Prometheus and people see, also while an event is stuck."""
import http.client
import json
import shutil
import socket
import subprocess

import pytest

from signup_harness import wait_until
from signups import calls, event, phone, wait_settled


def test_quiet_worker(topics, ledger, worker, sim):
    """/livez and /readyz say 200; /status holds every assigned partition and no unfinished event; unknown paths are
    404, other methods 405, and neither disturbs."""
    assert worker.get("/livez") == (200, "alive\n")
    assert worker.get("/readyz") == (200, "ready\n")
    topics.source.produce([event(number) for number in range(100)])
    ledger.wait_states(accepted=100)
    wait_settled(topics.source, topics.group)
    status = wait_until(lambda: (s := worker.status()) and all(p["committed"] == p["watermark"] for p in s["partitions"])
                        and s, 10, "commits on /status")
    assert status["ready"] and status["reasons"] == [] and status["oldest_unfinished"] is None
    assert status["deliveries"] == status["in_flight"] == status["waiting"]["retry"] == 0
    assert sorted(p["partition"] for p in status["partitions"]) == [0, 1, 2, 3]
    for partition in status["partitions"]:
        assert (partition["topic"], partition["lag"], partition["unfinished"]) == (topics.source.name, 0, 0)
    assert {server["name"]: server["connected"] for server in status["servers"]} == {
        "kafka": True, "postgres": True, "contacts_api": True}
    assert status["counters"]["accepted"] == status["counters"]["calls"] == 100
    assert worker.get("/nothing")[0] == 404

    connection = http.client.HTTPConnection("127.0.0.1", worker.admin_port, timeout=5)
    connection.request("POST", "/status", body="x")
    assert connection.getresponse().status == 405
    connection.close()
    assert worker.get("/livez")[0] == 200


def test_metrics_pass_promtool(topics, ledger, worker, sim):
    """/metrics passes `promtool check metrics` with every family in use, and its figures agree with the ledger."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.fail("promtool is missing: install the package prometheus")
    sim.fault({"kind": "answer", "status": 500, "apply": False}, op="upsert", phone=phone(1), count=2)
    topics.source.produce([event(number) for number in range(50)] + [event(99, phone_number="1")])
    ledger.wait_states(accepted=50, dead=1)
    wait_settled(topics.source, topics.group)
    done = subprocess.run([promtool, "check", "metrics"], input=worker.get("/metrics")[1], capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 0 and done.stdout + done.stderr == "", done.stdout + done.stderr
    wait_until(lambda: worker.metric("signup_dead_letters_total") == 1, 10, "the letter is counted")
    figures = {"accepted": 50, "dead": 1, "records": 51, "calls": 52, "retries": 2, "new_contacts": 50, "journeys": 50}
    assert {name: worker.metric(f"signup_{name}_total") for name in figures} == figures
    assert worker.metric("signup_call_answers_total", **{"class": "server"}) == 2
    assert worker.metric("signup_call_duration_seconds_count") == 52
    assert worker.metric("signup_partition_lag_records") == 0
    assert worker.metric("signup_assigned_partitions") == 4
    assert worker.metric("signup_ready") == worker.metric("signup_gate_open", route="upsert") == 1
    assert worker.metric("process_resident_memory_bytes") > 1 << 20
    names = {name for name, _ in worker.metrics()}
    assert all(name.startswith(("signup_", "process_")) for name in names), names


def test_status_tells_why_an_event_is_stuck(topics, ledger, workers, sim):
    """While an event fails again and again /status names the oldest unfinished one: where it lies, since when, its
    state, its tries and the last code; the partition shows what is not finished. No phone number is shown."""
    worker = workers(retry={"inline_base": "100ms", "inline_cap": "200ms", "inline_attempts": 1000, "max_attempts": 1000})
    sim.fault({"kind": "answer", "status": 500, "code": "internal_error", "apply": False}, op="upsert", phone=phone(1))
    [[partition, offset]] = topics.source.produce([event(1)])
    topics.source.produce([event(number) for number in range(2, 12)], partition=partition)
    ledger.wait_states(accepted=10, claimed=1)

    def stuck():
        oldest = worker.status()["oldest_unfinished"]
        return oldest if oldest and oldest["attempts"] >= 5 else None
    oldest = wait_until(stuck, 20, lambda: worker.get("/status")[1])
    assert (oldest["topic"], oldest["partition"], oldest["offset"]) == (topics.source.name, partition, offset)
    assert oldest["last_code"] == "internal_error" and "internal_error" in oldest["why"]
    assert oldest["state"] and oldest["since"].endswith("Z") and oldest["age_seconds"] > 0
    status = worker.status()
    mine = [entry for entry in status["partitions"] if entry["partition"] == partition][0]
    assert mine["unfinished"] >= 1 and mine["watermark"] == offset and mine["last_delivered"] == offset + 10
    assert mine["lag"] >= 1
    assert status["deliveries"] >= 1 and worker.metric("signup_oldest_unfinished_seconds") > 0
    assert phone(1)[1:] not in json.dumps(status)
    assert worker.is_ready(), "one event's trouble is no reason to be unready"
    sim.clear_faults()
    ledger.wait_states(accepted=11)
    wait_until(lambda: worker.status()["oldest_unfinished"] is None, 10, "nothing unfinished")


def test_status_while_the_route_is_held(topics, ledger, workers, sim):
    """With the API gone /readyz is 503 with the reason, /status says which gate is closed, why and since when, that
    intake pauses and why; /livez stays 200 and Prometheus sees the same."""
    worker = workers()
    sim.fault({"kind": "answer", "status": 401, "code": "unauthorized", "apply": False}, op="upsert")
    topics.source.produce([event(number) for number in range(30)])
    text = worker.wait_not_ready(reason="contacts_api: unauthorized")
    assert text.startswith("not ready\n")
    status = worker.status()
    gate = {entry["route"]: entry for entry in status["gates"]}["upsert"]
    assert not gate["open"] and "unauthorized" in gate["why"] and gate["closed_since"]
    assert not status["ready"] and status["reasons"][0].startswith("contacts_api")
    assert not status["intake"]["open"] and status["intake"]["why"]
    assert "upsert is closed" in status["oldest_unfinished"]["why"]
    assert worker.metric("signup_ready") == worker.metric("signup_gate_open", route="upsert") == 0
    assert worker.metric("signup_server_connected", server="contacts_api") == 0
    assert worker.get("/livez")[0] == 200
    sim.clear_faults()
    worker.wait_ready(10)
    ledger.wait_states(accepted=30)
    assert worker.metric("signup_gate_closed_seconds", route="upsert") == 0


def test_rude_clients_cost_nothing(topics, ledger, worker, sim):
    """Clients that connect and say nothing, say nonsense, or ask for megabytes of headers neither stop consumption nor
    the other probes."""
    idle = []
    try:
        for number in range(40):
            client = socket.create_connection(("127.0.0.1", worker.admin_port), timeout=5)
            client.sendall((b"", b"GET /sta", b"\x16\x03\x01\x00", b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10000)[number % 4])
            idle.append(client)
        topics.source.produce([event(number) for number in range(50)])
        ledger.wait_states(accepted=50)
        assert len(calls(sim)) == 50
    finally:
        for client in idle:
            client.close()
    wait_until(worker.is_ready, 20, "probes are answered again")


def test_not_ready_while_shutting_down(topics, ledger, workers, sim):
    """While a call is waited for at the end /readyz says so, so that no more traffic is expected of it."""
    sim.fault({"kind": "hang", "at": "after_request"}, op="upsert", phone=phone(1))
    worker = workers(limits={"shutdown": "4s"})
    topics.source.produce([event(1)])
    wait_until(lambda: calls(sim), 10, "the call that hangs")
    worker.process.terminate()
    worker.wait_not_ready(reason="shutting down")
    assert worker.status()["draining"] and worker.metric("signup_draining") == 1
    assert worker.wait_exit() == 0
