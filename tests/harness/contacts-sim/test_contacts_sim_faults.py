"""Every fault of the contacts simulator, seen byte by byte, and what the book says of it."""
import gzip
import json
import time
import zlib

import pytest

from simtest import KEY, LIST, UPSERT, VALIDATE, Raw, request_bytes

PHONE = "+12125550001"
OTHER = "+12125550002"


def call(sim, phone=PHONE, **fields):
    return Raw(sim.port).send(request_bytes(phone, use_journeys=True, **fields))


def applied(sim, phone=PHONE):
    """Whether the contact exists, agreed by state, counters and book."""
    lines = [line for line in sim.book() if line.get("applied")]
    exists = sim.contact(phone)["exists"]
    assert len(lines) == sim.stats()["list_contacts"] == int(exists)
    assert sum(line["enrolled"] for line in lines) == sim.stats()["enrolments"]
    return exists


def split(data):
    head, body = data.split(b"\r\n\r\n", 1)
    return head, body


def content_lengths(head):
    return [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]


# ---- answers
@pytest.mark.parametrize("status, code", [(400, "list_not_found"), (401, "unauthorized"),
                                          (402, "payment_failed"), (403, None),
                                          (404, "not_found"), (409, None), (413, "payload_too_large"), (422,
                                                  None),
                                          (429, "rate_limited"), (500, "internal_error"), (502, None),
                                          (503, "provider_error"), (504, None), (200, None), (199, None)])
@pytest.mark.parametrize("apply", [True, False, None])
def test_status(sim, status, code, apply):
    action = {"status": status, "error": "told to"}
    if code:
        action["code"] = code
    if apply is not None:
        action["apply"] = apply
    sim.fault(action)
    head, body = call(sim).read_answer()
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body) == {"error": "told to", **({"code": code} if code else {})}
    assert applied(sim) is (status == 200 if apply is None else apply)
    line, = sim.book("answered")
    assert (line["status"], line["fault"], line["whole"]) == (status, "answer", True)
    assert sim.stats()["calls"]["upsert"]["by_status"] == {str(status): 1}
    assert sim.stats()["faults"] == 1


def test_message_headers_and_raw_body(sim):
    sim.fault({"status": 429, "error": "e", "code": "c", "message": "m",
               "headers": {"Retry-After": "1e18", "X-A": "b"}}, count=1)
    head, body = call(sim).read_answer()
    assert b"\r\nRetry-After: 1e18\r\nX-A: b\r\n" in head + b"\r\n"
    assert json.loads(body) == {"error": "e", "code": "c", "message": "m"}
    sim.fault({"status": 200, "body": "raw \0 é", "headers": {"Content-Type": "text/plain"}}, count=1)
    head, body = call(sim).read_answer()
    assert body == "raw \0 é".encode() and head.count(b"Content-Type") == 1
    sim.fault({"status": 503, "headers": {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}}, count=1)
    head, body = call(sim).read_answer()
    assert head.count(b"Date: ") == 1 and json.loads(body) == {"error": "simulated fault"}


@pytest.mark.parametrize("value", ["120", "-5", "soon", "1.5", "120junk", "9223372036854775808",
                                   "Wed, 21 Oct 2015 07:28:00 GMT", "", " "])
def test_retry_after_verbatim(sim, value):
    sim.fault({"status": 429, "headers": {"Retry-After": value}})
    assert f"\r\nRetry-After: {value}\r\n".encode() in call(sim).read_answer()[0] + b"\r\n"


@pytest.mark.parametrize("status, shown", [(99, b"099"), (999, b"999"), (0, b"000")])
def test_odd_statuses(sim, status, shown):
    sim.fault({"status": status, "apply": True})
    assert call(sim).read_answer()[0].startswith(b"HTTP/1.1 " + shown + b" ")
    assert applied(sim)
    assert sim.stats()["calls"]["upsert"]["by_status"] == {shown.decode(): 1}


def test_true_answer_without_effect(sim):
    sim.fault({"apply": False})
    body = json.loads(call(sim).read_answer()[1])
    assert body["success"] is True and body["is_new_contact"] is True and body["journeys_enrolled"] == 1
    assert not applied(sim)


def test_delay(sim):
    sim.fault({"delay_ms": 120})
    begun = time.monotonic()
    call(sim).read_answer()
    assert time.monotonic() - begun >= 0.12
    received, answered = sim.book("received") + sim.book("answered")
    assert answered["at_us"] - received["at_us"] >= 120_000
    assert received["applied"] is True


# ---- effects that come late
def test_late_effect(sim):
    sim.fault({"delay_ms": 300, "apply": "late"})
    raw = call(sim)
    received, = sim.await_book("received")
    assert received["applied"] is False and sim.contact(PHONE)["exists"] is False
    assert json.loads(raw.read_answer()[1])["journeys_enrolled"] == 1
    assert applied(sim)
    assert [line["seq"] for line in sim.book("effect", applied=True)] == [received["seq"]]


def test_late_effect_after_the_client_left(sim):
    sim.fault({"delay_ms": 200, "apply": "late"})
    raw = call(sim)
    sim.await_book("received")
    raw.close()
    sim.await_book("client_gone")
    sim.await_book("effect", applied=True)
    assert applied(sim) and sim.book("answered") == []
    assert sim.stats()["calls"]["upsert"]["gone"] == 1


def test_client_gone_before_the_answer(sim):
    sim.fault({"delay_ms": 60000})
    raw = call(sim)
    sim.await_book("received")
    raw.reset()
    sim.await_book("client_gone")
    assert applied(sim) and sim.book("answered") == []
    assert sim.contact(PHONE)["in_flight"] == 0


# ---- close, reset, hang
PLACES = [("after_request", False), ("in_headers", True), ("in_body", True), ("after_response", True)]


def check_place(place, data):
    if place == "after_request":
        assert data == b""
    elif place == "in_headers":
        assert data.startswith(b"HTTP/1.1 20") and b"\r\n\r\n" not in data
    else:
        head, body = split(data)
        length, = content_lengths(head)
        assert 0 < len(body) < length if place == "in_body" else len(body) == length
        assert b"Connection: close" not in head


@pytest.mark.parametrize("place, effect", PLACES)
@pytest.mark.parametrize("kind, ending", [("close", "fin"), ("reset", "rst")])
@pytest.mark.parametrize("apply", [None, True, False])
def test_end_of_connection(sim, place, effect, kind, ending, apply):
    sim.fault({"kind": kind, "at": place, **({} if apply is None else {"apply": apply})})
    end, data = call(sim).read_end()
    assert end == ending
    check_place(place, data)
    assert applied(sim) is (effect if apply is None else apply)
    received, = sim.book("received")
    assert received["fault"] == f"{kind} {place}"
    if place == "after_request":
        assert [line["seq"] for line in sim.book("dropped")] == [received["seq"]]
        assert sim.book("answered") == []
        assert sim.stats()["calls"]["upsert"]["dropped"] == 1
    else:
        answered, = sim.book("answered")
        assert answered["whole"] is (place == "after_response" and kind == "close")


@pytest.mark.parametrize("place, effect", PLACES)
def test_hang(sim, place, effect):
    sim.fault({"kind": "hang", "at": place})
    raw = call(sim)
    sim.await_book("received")
    if place != "after_request":
        raw.read_until(lambda got: len(got) > 30)
    assert raw.silent_for(0.15)
    check_place(place, raw.got)
    assert applied(sim) is effect
    assert sim.stats()["open_connections"] >= 1
    raw.close()


@pytest.mark.parametrize("kind, ending", [("close", "fin"), ("reset", "rst")])
def test_before_read(sim, kind, ending):
    sim.fault({"kind": kind, "at": "before_read"}, count=1)
    assert call(sim).read_end() == (ending, b"")
    assert sim.book("received") == [] and sim.stats()["contacts"] == 0
    assert [line["fault"] for line in sim.book("fault")] == [f"{kind} before_read"]
    assert b" 201 " in call(sim).read_answer()[0]


def test_before_read_hang_and_control_is_let_through(sim):
    sim.fault({"kind": "hang", "at": "before_read"})
    raw = call(sim)
    sim.await_book("fault")
    assert raw.silent_for(0.1)
    assert sim.control("GET", "/_sim/stats", port=sim.port)["faults"] == 1
    raw.close()


@pytest.mark.parametrize("kind, ending", [("close", {"fin", "rst"}), ("reset", {"rst"})])
def test_accept(sim, kind, ending):
    sim.fault({"kind": kind, "at": "accept"}, count=1)
    try:
        end, data = Raw(sim.port).read_end()
    except ConnectionResetError:  # quick enough to meet the connect itself
        end, data = "rst", b""
    assert end in ending and data == b""
    assert [line["fault"] for line in sim.await_book("fault")] == [f"{kind} accept"]
    assert b" 201 " in call(sim).read_answer()[0]


def test_accept_hang(sim):
    sim.fault({"kind": "hang", "at": "accept"}, count=1)
    raw = call(sim)
    sim.await_book("fault")
    assert raw.silent_for(0.1) and sim.book("received") == []
    raw.close()


@pytest.mark.parametrize("kind, ending", [("close", "fin"), ("reset", "rst")])
def test_keep_alive_race(sim, kind, ending):
    """The server ends a reused connection as the next request comes in: surely without effect."""
    sim.fault({"kind": kind, "at": "before_read"}, reused=True, count=1)
    raw = call(sim)
    assert b" 201 " in raw.read_answer()[0]
    assert raw.send(request_bytes(OTHER)).read_end() == (ending, b"")
    assert len(sim.book("received")) == 1 and sim.stats()["contacts"] == 1


def test_idle_close(sim):
    sim.fault({"kind": "idle_close", "late_ms": 30}, count=1)
    raw = call(sim)
    head, _ = raw.read_answer()
    assert b"Connection" not in head
    assert raw.read_end() == ("fin", b"")
    assert [line["fault"] for line in sim.book("unsolicited")] == ["idle_close"]


# ---- slow
@pytest.mark.parametrize("place", ["in_headers", "in_body"])
def test_trickle(sim, place):
    sim.fault({"kind": "trickle", "at": place, "step_bytes": 40, "step_ms": 15}, count=1)
    begun = time.monotonic()
    raw = call(sim)
    head, body = raw.read_answer()
    slow = (len(head) + 4 if place == "in_headers" else 0) + len(body)
    assert time.monotonic() - begun >= (slow // 40) * 0.015
    assert json.loads(body)["success"] is True and applied(sim)
    raw.send(request_bytes(PHONE))
    assert b" 200 " in raw.read_answer()[0]


def test_trickle_undelivered(sim):
    sim.fault({"kind": "trickle", "step_ms": 60000})
    raw = call(sim)
    raw.read_until(lambda got: got == b"H")
    raw.reset()
    sim.await_book("undelivered")
    assert applied(sim) and sim.contact(PHONE)["in_flight"] == 0


def test_endless_continue(sim):
    sim.fault({"kind": "continue", "step_ms": 5})
    raw = call(sim)
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.read_until(lambda got: len(got) >= 20 * len(interim))
    assert raw.got.startswith(20 * interim)
    assert not applied(sim)
    line, = sim.book("answered")
    assert (line["status"], line["whole"]) == (100, False)
    raw.close()
    sim.await_book("undelivered")


# ---- framing
def test_garbage(sim):
    sim.fault({"kind": "garbage"}, count=1)
    end, data = call(sim).read_end()
    assert end == "fin" and data and not data.startswith(b"HTTP") and not applied(sim)
    assert sim.book("answered")[0]["status"] == 0
    sim.fault({"kind": "garbage", "body": "SSH-2.0-x\r\n", "apply": True}, count=1)
    assert call(sim).read_end() == ("fin", b"SSH-2.0-x\r\n")
    assert applied(sim)


@pytest.mark.parametrize("second, lengths", [(None, 0), (3, 3), (99999, 99999)])
def test_duplicate_length(sim, second, lengths):
    sim.fault({"kind": "duplicate_length", **({} if second is None else {"second_length": second})})
    head, body = call(sim).read_answer()
    first, again = content_lengths(head)
    assert first == len(body) and again == (lengths or first)
    assert sim.book("answered")[0]["whole"] is False and applied(sim)


def test_nul_header(sim):
    sim.fault({"kind": "nul_header"})
    assert b"\r\nX-Note: a\0b" in call(sim).read_answer()[0]


@pytest.mark.parametrize("one_line", [False, True])
def test_big_headers(sim, one_line):
    sim.fault({"kind": "big_headers", "one_line": one_line})
    head, body = call(sim).read_answer()
    longest = max(len(line) for line in head.split(b"\r\n"))
    assert 2_000_000 < len(head) < 2_010_000 and (longest > 2_000_000) is one_line
    assert json.loads(body)["success"] is True


@pytest.mark.parametrize("content_length", [True, False])
def test_huge_body(sim, content_length):
    sim.fault({"kind": "huge_body", "bytes": 20_000_000, "content_length": content_length}, count=1)
    raw = call(sim)
    if content_length:
        head, body = raw.read_answer()
        assert content_lengths(head) == [20_000_000]
        assert b" 200 " in raw.send(request_bytes(PHONE)).read_answer()[0]
    else:
        end, data = raw.read_end()
        head, body = split(data)
        assert end == "fin" and content_lengths(head) == []
    assert len(body) == 20_000_000 and json.loads(body)["success"] is True


def test_huge_body_does_not_fill_memory_or_stop_others(sim):
    sim.fault({"kind": "huge_body", "bytes": 1 << 40, "content_length": False}, count=1)
    raw = call(sim)
    raw.read_until(lambda got: len(got) > 1 << 22)
    raw.got = b""
    for _ in range(20):
        assert sim.upsert(OTHER).status in (200, 201)
    with open(f"/proc/{sim.process.pid}/smaps_rollup", encoding="ascii") as file:
        rss_kb = int([line for line in file if line.startswith("Rss:")][0].split()[1])
    assert rss_kb < 600_000  # under AddressSanitizer too
    raw.reset()
    sim.await_book("undelivered")


@pytest.mark.parametrize("size", [100_000_000, 1000, 1, 259])
def test_gzip_bomb(sim, size):
    sim.fault({"kind": "gzip_bomb", "bytes": size})
    head, body = call(sim).read_answer()
    assert b"Content-Encoding: gzip" in head
    assert len(body) < 18 + 260 + size // 158  # 13 bits for 258 bytes, what is left over as literals
    assert gzip.decompress(body) == b" " * size  # checks length and CRC


def test_bad_gzip(sim):
    sim.fault({"kind": "bad_gzip"})
    head, body = call(sim).read_answer()
    assert b"Content-Encoding: gzip" in head
    with pytest.raises(zlib.error):
        gzip.decompress(body)


def test_truncated_body(sim):
    sim.fault({"kind": "truncated_body"})
    end, data = call(sim).read_end()
    head, body = split(data)
    assert end == "fin" and len(body) == content_lengths(head)[0] // 2 and applied(sim)


def test_short_length(sim):
    sim.fault({"kind": "short_length"}, count=1)
    raw = call(sim)
    _, body = raw.read_answer()
    raw.read_until(lambda got: len(got) >= len(body))
    with pytest.raises(ValueError):
        json.loads(body)
    assert json.loads(body + raw.got)["success"] is True


@pytest.mark.parametrize("kind", ["bad_chunk", "truncated_chunk"])
def test_chunks(sim, kind):
    sim.fault({"kind": kind})
    end, data = call(sim).read_end()
    head, body = split(data)
    size, rest = body.split(b"\r\n", 1)
    assert end == "fin" and b"Transfer-Encoding: chunked" in head and content_lengths(head) == []
    assert size == b"zz" if kind == "bad_chunk" else 0 < len(rest) < int(size, 16)
    assert applied(sim) and sim.book("answered")[0]["whole"] is False


# ---- content
@pytest.mark.parametrize("kind, effect", [("empty_body", True), ("html_body", True),
                                          ("success_false", False)])
def test_complete_but_no_success(sim, kind, effect):
    sim.fault({"kind": kind})
    head, body = call(sim).read_answer()
    assert head.startswith(b"HTTP/1.1 200 ")
    if kind == "empty_body":
        assert body == b""
    elif kind == "html_body":
        assert b"Content-Type: text/html" in head and body.startswith(b"<!doctype html>")
    else:
        assert json.loads(body)["success"] is False
    assert applied(sim) is effect


def test_wrong_contact(sim):
    mine = json.loads(call(sim).read_answer()[1])
    sim.fault({"kind": "wrong_contact"})
    wrong = json.loads(call(sim).read_answer()[1])
    assert wrong["success"] is True and wrong["contact_id"] != mine["contact_id"]
    assert sim.validate(PHONE).json["phone"] == OTHER
    assert sim.request("GET", UPSERT + "/%2B12125550001").json["phone_number"] == OTHER


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect(sim, status):
    sim.fault({"kind": "redirect", "status": status, "location": "http://127.0.0.1:1/elsewhere"})
    head, _ = call(sim).read_answer()
    assert head.startswith(b"HTTP/1.1 %d " % status) and b"\r\nLocation: http://127.0.0.1:1/elsewhere" in head
    assert not applied(sim)


# ---- what nobody asked for
def test_late_response(sim):
    sim.fault({"kind": "late_response", "late_ms": 20}, count=1)
    raw = call(sim)
    good = json.loads(raw.read_answer()[1])
    head, body = raw.read_answer()
    assert head.startswith(b"HTTP/1.1 201 ") and json.loads(body)["contact_id"] != good["contact_id"]
    line, = sim.book("unsolicited")
    assert line["fault"] == "late_response" and line["seq"] == sim.book("answered")[0]["seq"]
    assert b" 200 " in raw.send(request_bytes(PHONE)).read_answer()[0]
    assert len(sim.book("answered")) == 2


def test_late_response_into_the_next_call(sim):
    sim.fault({"kind": "late_response", "late_ms": 60}, count=1)
    sim.fault({"delay_ms": 200})
    raw = call(sim)
    raw.read_answer()
    raw.send(request_bytes(OTHER))
    assert b"c999999999" in raw.read_answer()[1]
    assert b"c999999999" not in raw.read_answer()[1]
    raw.close()


def test_idle_408(sim):
    sim.fault({"kind": "idle_408", "late_ms": 20}, count=1)
    raw = call(sim)
    assert b" 201 " in raw.read_answer()[0]
    end, data = raw.read_end()
    assert end == "fin" and data.startswith(b"HTTP/1.1 408 ") and b"Connection: close" in data


def test_idle_408_is_called_off_by_a_request(sim):
    sim.fault({"kind": "idle_408", "late_ms": 150}, count=1)
    raw = call(sim)
    raw.read_answer()
    assert b" 200 " in raw.send(request_bytes(PHONE)).read_answer()[0]
    assert raw.silent_for(0.25)
    assert sim.book("unsolicited") == []
    raw.close()


# ---- rules
def test_rule_selection(sim):
    sim.fault({"status": 500}, op="upsert", phone=PHONE)
    sim.fault({"status": 502}, op="upsert", list="+18005550101")
    sim.fault({"status": 503}, op="validate")
    assert sim.upsert(PHONE).status == 500
    assert sim.upsert(PHONE, list_number="+18005550101").status == 500
    assert sim.upsert(OTHER, list_number="+18005550101").status == 502
    assert sim.upsert(OTHER).status == 201
    assert sim.validate(PHONE).status == 503
    assert sim.request("GET", UPSERT).status == 200
    rules = sim.control("GET", "/_sim/faults")
    assert [(rule["matched"], rule["fired"]) for rule in rules] == [(2, 2), (1, 1), (1, 1)]
    sim.control("DELETE", "/_sim/faults")
    assert sim.upsert(PHONE).status == 201


@pytest.mark.parametrize("op, method, path, body", [
    ("upsert", "POST", UPSERT, {}), ("validate", "POST", VALIDATE, {}), ("read", "GET",
            UPSERT + "/%2B12125550001", None),
    ("list", "GET", UPSERT + "?page=1", None), ("bulk", "POST", UPSERT + "/bulk", {}),
    ("validate_batch", "POST", VALIDATE + "/batch", {}), ("other", "GET", "/api/v2/x", None), ("any", "POST",
            UPSERT, {})])
def test_rule_ops(sim, op, method, path, body):
    sim.fault({"status": 418}, op=op)
    assert sim.request(method, path, body).status == 418
    assert sim.book("received")[0]["op"] == (op if op != "any" else "upsert")
    assert sim.request("GET" if op == "upsert" else "POST", UPSERT, {}).status != 418 or op == "any"


READ_FAULTS = [
    ({"status": 401, "code": "unauthorized"}, 401), ({"status": 404, "code": "not_found"}, 404),
    ({"status": 404, "body": "<html>Not Found</html>"}, 404), ({"status": 429, "headers": {"Retry-After": "2"}}, 429),
    ({"status": 500, "code": "internal_error"}, 500), ({"status": 503}, 503), ({"kind": "empty_body"}, 200),
    ({"kind": "html_body"}, 200), ({"kind": "success_false"}, 200), ({"kind": "wrong_contact"}, 200),
    ({"kind": "redirect", "location": "http://127.0.0.1:9/"}, 302), ({"delay_ms": 20}, 200),
    ({"status": 200, "body": '{"phone_number":"+12125550001","lists":[{"list_number":"+18005550100","active":"no"}]}'}, 200),
]


@pytest.mark.parametrize("action, status", READ_FAULTS)
def test_reads_alone_fail(sim, action, status):
    """A rule for `read` meets reads and nothing else, and a read changes nothing whatever is said of it."""
    sim.upsert(PHONE, use_journeys=True)
    before = sim.contact(PHONE)
    sim.fault(action, op="read", phone=PHONE)
    answer = sim.request("GET", UPSERT + "/%2B12125550001")
    assert answer.status == status
    if "body" in action:
        assert answer.body.decode() == action["body"]
    elif action.get("kind") == "wrong_contact":
        assert answer.json["phone_number"] == OTHER
    line, = sim.book("received", op="read")
    assert (line["phone"], line["applied"], line["code"]) == (PHONE, False, "")
    assert sim.upsert(PHONE).status == 200 and sim.validate(PHONE).status == 200
    assert sim.request("GET", UPSERT).status == 200
    assert sim.request("GET", UPSERT + "/%2B12125550002").status == 404, "the rule names another phone"
    after = sim.contact(PHONE)
    assert (after["enrolments"], after["active"]) == (before["enrolments"], before["active"])
    assert sim.control("GET", "/_sim/faults")[0]["fired"] == 1


@pytest.mark.parametrize("kind, at", [("close", "after_request"), ("close", "in_headers"), ("close", "in_body"),
                                      ("reset", "after_request"), ("reset", "in_body")])
def test_reads_alone_break(sim, kind, at):
    sim.upsert(PHONE)
    sim.fault({"kind": kind, "at": at}, op="read", count=1)
    raw = Raw(sim.port).send(f"GET {UPSERT}/%2B12125550001 HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\n\r\n".encode())
    end, data = raw.read_end()
    assert end == ("fin" if kind == "close" else "rst") and b"click_count" not in data
    raw.close()
    assert sim.request("GET", UPSERT + "/%2B12125550001").json["lists"][0]["active"] is True


def test_after_count_and_order(sim):
    sim.fault({"status": 500}, after=2, count=2)
    sim.fault({"status": 503}, count=1)
    assert [sim.upsert(PHONE).status for _ in range(6)] == [503, 201, 500, 500, 200, 200]


def test_probability_and_seed(start_sim):
    def statuses(sim):
        sim.fault({"status": 500, "apply": True}, probability=0.3)
        raw = Raw(sim.port)
        heads = [raw.send(request_bytes(PHONE)).read_answer()[0] for _ in range(300)]
        found = "".join("x" if b" 500 " in head else "." for head in heads)
        raw.close()
        return found
    first, again, other = (statuses(start_sim("--seed", seed)) for seed in ("7", "7", "8"))
    assert first == again != other
    assert 60 <= first.count("x") <= 120


def test_apply_in_a_bulk(sim):
    bulk = {"contacts": [{"phone_number": phone, "list_number": LIST,
                          "use_journeys": True} for phone in (PHONE, OTHER)]}
    sim.fault({"status": 500, "apply": True}, op="bulk", count=1)
    sim.fault({"status": 500}, op="bulk", count=1)
    assert [sim.request("POST", UPSERT + "/bulk", bulk).status for _ in range(2)] == [500, 500]
    assert sim.stats()["contacts"] == 2 and len(sim.book("effect", applied=True)) == 2
    sim.fault({"apply": "late", "delay_ms": 20}, op="bulk", count=1)
    assert sim.request("POST", UPSERT + "/bulk", bulk).json["success_count"] == 2
    assert len(sim.book("effect", applied=True)) == 4


def test_apply_of_a_lookup(sim):
    sim.fault({"kind": "close", "at": "after_request", "apply": True}, op="validate", count=1)
    body = json.dumps({"phone": PHONE}).encode()
    raw = Raw(sim.port).send(f"POST {VALIDATE} HTTP/1.1\r\nX-Api-Key: {KEY}\r\n"
                             f"Content-Type: application/json\r\n"
                             f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert raw.read_end() == ("fin", b"")
    assert sim.validate(PHONE).json["cached"] is True
    sim.fault({"apply": False}, op="validate", count=1)
    assert sim.validate(OTHER).json["cached"] is False
    assert sim.validate(OTHER).json["cached"] is False


def test_reset_during_a_call(sim):
    sim.fault({"delay_ms": 200}, count=1)
    sim.fault({"delay_ms": 200, "apply": "late"}, count=1)
    raws = [call(sim), call(sim, OTHER)]
    sim.await_book("received", phone=PHONE)
    sim.await_book("received", phone=OTHER)
    sim.control("POST", "/_sim/reset")
    for raw in raws:
        assert b" 201 " in raw.read_answer()[0]
    assert sim.stats()["contacts"] == 1


def test_delayed_call_outlives_its_rule(sim):
    sim.fault({"delay_ms": 150, "status": 503, "headers": {"X-A": "still here"}})
    raw = call(sim)
    sim.await_book("received")
    sim.control("DELETE", "/_sim/faults")
    assert b"X-A: still here" in raw.read_answer()[0]


@pytest.mark.parametrize("rule", [
    7, {}, {"action": 1}, {"action": {"kind": "nothing"}}, {"action": {"statsu": 500}},
    {"action": {"status": "500"}},
    {"action": {"status": 1000}}, {"action": {"status": -1}}, {"action": {"apply": "yes"}},
    {"action": {"headers": []}},
    {"action": {"headers": {"a": 1}}}, {"action": {"at": "in_body"}}, {"action": {"kind": "close",
            "at": "nowhere"}},
    {"action": {"kind": "trickle", "at": "after_request"}}, {"action": {"kind": "trickle", "at": "accept"}},
    {"action": {"kind": "trickle", "step_ms": 0}}, {"action": {"kind": "redirect"}},
    {"action": {"delay_ms": -1}},
    {"action": {"content_length": 1}}, {"action": {"body": 1}}, {"op": "control", "action": {}}, {"op": "x",
            "action": {}},
    {"phone": "2125550001", "action": {}}, {"probability": 2, "action": {}}, {"probability": "1",
            "action": {}},
    {"count": -1, "action": {}}, {"reused": 1, "action": {}}, {"times": 1, "action": {}},
    {"op": "upsert", "action": {"kind": "reset", "at": "accept"}}, {"phone": PHONE,
            "action": {"kind": "reset", "at": "before_read"}},
    {"action": {"kind": "reset", "at": "accept", "apply": True}}])
def test_rules_that_are_refused(sim, rule):
    good = {"action": {"status": 500}}
    answer = sim.control("POST", "/_sim/faults", [good, rule], status=400)
    assert "must be" in answer["error"]
    assert sim.control("GET", "/_sim/faults") == []
    sim.control("POST", "/_sim/faults", good, status=400)
