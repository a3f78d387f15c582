"""Connections, book, counters, control and command line of the contacts simulator."""
import hashlib
import json
import os
import signal
import ssl
import subprocess
import time

import pytest

from simtest import KEY, LIST, UPSERT, Raw, binary, contact_body, request_bytes

PHONE = "+12125550001"
OTHER = "+12125550002"


# ---- connection and book
def test_keep_alive_and_pipelining(sim):
    raw = Raw(sim.port).send(b"".join(request_bytes(f"+1212555030{i}") for i in range(5)))
    assert all(b" 201 " in raw.read_answer()[0] for _ in range(5))
    raw.send(request_bytes("+12125550300"))
    assert b" 200 " in raw.read_answer()[0]
    assert len({line["conn"] for line in sim.book("received")}) == 1
    raw.send(request_bytes(PHONE, extra="Connection: close\r\n"))
    end, data = raw.read_end()
    assert end == "fin" and b"Connection: close" in data


def test_request_byte_by_byte_and_chunked(sim):
    raw = Raw(sim.port)
    for i in range(len(data := request_bytes(PHONE))):
        raw.send(data[i:i + 1])
    assert b" 201 " in raw.read_answer()[0]
    body = contact_body(OTHER)
    raw.send(f"POST {UPSERT} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Type: application/json\r\n"
             f"X-Empty:\r\nTransfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode()
             + body + b"\r\n0\r\n\r\n")
    assert b" 201 " in raw.read_answer()[0]
    raw.close()


def test_expect_continue(sim):
    data = request_bytes(PHONE, extra="Expect: 100-continue\r\n")
    head, body = data.split(b"\r\n\r\n")
    raw = Raw(sim.port).send(head + b"\r\n\r\n")
    raw.read_until(lambda got: got == b"HTTP/1.1 100 Continue\r\n\r\n")
    raw.got = b""
    assert b" 201 " in raw.send(body).read_answer()[0]
    raw.close()


def test_malformed_and_incomplete(sim):
    end, data = Raw(sim.port).send(b"\x16\x03\x01 nonsense\r\n\r\n").read_end()
    assert end == "fin" and data.startswith(b"HTTP/1.1 400 ")
    Raw(sim.port).send(request_bytes(PHONE)[:-5]).close()
    sim.await_book("incomplete")
    assert sim.stats()["contacts"] == 0 and len(sim.book("malformed")) == 1
    assert sim.book("received") == []


def test_book_of_a_call(sim):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = contact_body(PHONE, use_journeys=True, custom_fields={"q": 'é"\\\n'})
    before = time.time() * 1e6
    sim.request("POST", UPSERT, body, {"traceparent": trace})
    received, = sim.book("received")
    answered, = sim.book("answered")
    assert received["body"].encode() == body and received["body_bytes"] == len(body)
    assert received["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert received["traceparent"] == trace
    assert (received["op"], received["method"], received["path"]) == ("upsert", "POST", UPSERT)
    assert (received["phone"], received["list"]) == (PHONE, LIST)
    assert (received["use_journeys"], received["skip_journey_if_exists"]) == (True, None)
    assert (received["applied"], received["enrolled"], received["is_new_list_contact"]) == (True, 1, True)
    assert answered["seq"] == received["seq"] and answered["conn"] == received["conn"]
    assert (answered["status"], answered["whole"]) == (201, True) and "fault" not in answered
    assert before - 1e6 < received["at_us"] <= answered["at_us"] < time.time() * 1e6 + 1e6


def test_book_has_every_answer_after_kill(start_sim):
    sim = start_sim()
    raws = [Raw(sim.port) for _ in range(8)]
    for round_number in range(40):
        for i, raw in enumerate(raws):
            raw.send(request_bytes(f"+1212555{round_number * 8 + i:04d}"))
        for raw in raws[:-1]:
            raw.read_answer()
        if round_number < 39:
            raws[-1].read_answer()
    raws[-1].read_answer()
    sim.kill()
    with open(sim.book_path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    for phase in ("received", "answered"):
        assert sorted(line["phone"] for line in lines if line["phase"] == phase) == [
            f"+1212555{i:04d}" for i in range(320)]


def test_book_that_cannot_be_written_ends_the_simulator(tmp_path):
    process = subprocess.Popen([binary(), "--book", "/dev/full"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    assert Raw(port).send(request_bytes(PHONE)).read_end()[1] == b""
    assert "cannot write the book" in process.communicate(timeout=20)[1] and process.returncode == 74


def test_order_of_seq(sim):
    for seq in (1, 2, 2, 5, 3):
        sim.upsert(PHONE, custom_fields={"seq": seq})
    sim.upsert(OTHER, custom_fields={"seq": "1"})
    assert sim.contact(PHONE)["seqs"] == [1, 2, 2, 5, 3]
    assert sim.contact(PHONE)["calls"] == 5
    assert sim.stats()["order"] == {"seq_values": 6, "out_of_order": 1, "repeated": 1}
    for seq in range(300):
        sim.upsert(OTHER, custom_fields={"seq": seq + 1})
    many = sim.contact(OTHER)
    assert len(many["seqs"]) == 256 and many["seqs_total"] == 301


def test_overlapping_calls_of_one_contact_are_seen(sim):
    sim.control("POST", "/_sim/latency", {"min_ms": 100})
    raws = [Raw(sim.port).send(request_bytes(phone)) for phone in (PHONE, OTHER, PHONE)]
    for raw in raws:
        raw.read_answer()
    assert sim.stats()["overlapping_calls"] == 1
    assert [line["overlap"] for line in sim.book("received", phone=PHONE)] == [False, True]
    sim.control("POST", "/_sim/latency", {"min_ms": 5000})
    raws[0].send(request_bytes(PHONE)).close()
    raws[1].send(request_bytes(PHONE))  # the first client has given up: no overlap
    sim.await_book("client_gone")
    assert sim.stats()["overlapping_calls"] == 1
    for raw in raws[1:]:
        raw.close()


def test_retry_is_no_overlap_when_its_request_is_seen_before_the_end_of_the_first(sim):
    sim.control("POST", "/_sim/latency", {"min_ms": 1000})
    first = Raw(sim.port).send(request_bytes(PHONE))
    sim.await_book("received")
    known = sim.stats()["connections"]
    second = Raw(sim.port)
    looks = 1
    while sim.stats()["connections"] < known + looks + 1:  # each look is a connection of its own; one more is the second
        looks += 1
        assert looks < 1000, "the second connection is not accepted"
    sim.process.send_signal(signal.SIGSTOP)
    os.waitpid(sim.process.pid, os.WUNTRACED)
    try:
        second.send(request_bytes(PHONE)[:20])  # is first in the line of events
        first.close()
        second.send(request_bytes(PHONE)[20:])
    finally:
        sim.process.send_signal(signal.SIGCONT)
    second.read_answer()
    assert [line["phase"] for line in sim.book() if line["phase"] in ("received", "client_gone")] == [
        "received", "received", "client_gone"]
    assert sim.stats()["overlapping_calls"] == 0


def test_latency(sim):
    sim.control("POST", "/_sim/latency", {"min_ms": 80, "max_ms": 120})
    begun = time.monotonic()
    sim.upsert(PHONE)
    assert time.monotonic() - begun >= 0.08
    sim.control("POST", "/_sim/latency", {"min_ms": "x"}, status=400)


def test_control(sim):
    sim.control("GET", "/_sim/nothing", status=404)
    sim.control("GET", "/_sim/stats", port=sim.port)
    assert sim.contact(PHONE, status=404)["error"]
    sim.control("POST", "/_sim/contact", {"phone": PHONE, "list": LIST, "active": False}, status=404)
    sim.upsert(PHONE)
    stats = sim.stats()
    assert stats["calls"]["upsert"] == {"received": 1, "answered": 1, "dropped": 0, "gone": 0,
                                        "by_status": {"201": 1}}
    assert sim.control("GET", f"/_sim/contact?phone={PHONE}")["lists"][0]["list"] == LIST
    sim.control("POST", "/_sim/reset")
    assert sim.stats()["contacts"] == 0 and sim.stats()["calls"]["upsert"]["received"] == 0
    assert [line["path"] for line in sim.book("control")].count("/_sim/reset") == 1


def test_tls(start_sim, tmp_path):
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
                    "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    sim = start_sim("--tls-cert", cert, "--tls-key", key, "--tls-listen", "127.0.0.1:0")
    assert len(sim.ports) == 3 and sim.upsert(PHONE).status == 201
    context = ssl.create_default_context(cafile=cert)
    context.set_alpn_protocols(["h2", "http/1.1"])
    wrap = lambda plain: context.wrap_socket(plain, server_hostname="localhost")
    raw = Raw(sim.ports[1], wrap)
    assert raw.socket.selected_alpn_protocol() == "http/1.1"
    for _ in range(3):
        assert b" 200 " in raw.send(request_bytes(PHONE)).read_answer()[0]
    sim.fault({"kind": "close", "at": "before_read"}, count=1)
    assert raw.send(request_bytes(PHONE)).read_end() == ("fin", b"")
    sim.fault({"kind": "huge_body", "bytes": 5_000_000}, count=1)
    assert len(Raw(sim.ports[1], wrap).send(request_bytes(PHONE)).read_answer()[1]) == 5_000_000
    sim.fault({"kind": "hang", "at": "accept"}, count=1)
    stalled = Raw(sim.ports[1])
    stalled.socket.settimeout(0.3)
    with pytest.raises(OSError):
        wrap(stalled.socket)
    sim.fault({"kind": "reset", "at": "in_body"}, count=1)
    assert b"HTTP/1.1 200" in Raw(sim.ports[1], wrap).send(request_bytes(PHONE)).read_end()[1]


@pytest.mark.parametrize("options", [["--nothing"], ["x"], ["--latency-ms", "5..2"], ["--latency-ms", "a"],
                                     ["--lists", "x"], ["--lists", ""], ["--tls-cert", "x"], ["--seed",
                                             "-1"]])
def test_usage_errors(options):
    assert subprocess.run([binary(), *options], capture_output=True, check=False).returncode == 64


def test_help():
    text = subprocess.run([binary(), "--help"], capture_output=True, check=True, text=True).stdout
    assert "9006" in text and "gzip_bomb" in text and "/_sim/faults" in text


def test_taken_port(sim):
    run = subprocess.run([binary(), "--listen", f"127.0.0.1:{sim.port}"], capture_output=True, check=False)
    assert run.returncode == 69
