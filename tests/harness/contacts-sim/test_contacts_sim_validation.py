"""Phone validation of the contacts simulator: its own host, what numbers can be made to be, money, and faults of that
route alone; and the account's lists and journeys, which may change."""
import json
import subprocess
import time

import pytest

from simtest import KEY, LIST, UPSERT, VALIDATE, Raw, binary

PHONE = "+12125550001"
OTHER = "+12125550002"
OTHER_LIST = "+18005550101"


def steer(sim, phone=PHONE, status=200, **facts):
    return sim.control("POST", "/_sim/phone", {"phone": phone, **facts}, status=status)


def raw_validate(sim, phone=PHONE, force=False):
    body = json.dumps({"phone": phone, "force": force}).encode()
    head = (f"POST {VALIDATE} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")
    return Raw(sim.port).send(head.encode() + body)


# ---- its own host
def at(sim, port, call):
    """`call` made at another port."""
    usual, sim.port = sim.port, port
    try:
        return call()
    finally:
        sim.port = usual


def test_a_host_of_its_own(start_sim):
    sim = start_sim("--validation-listen", "127.0.0.1:0")
    _, validation, _ = sim.ports
    own = lambda: sim.validate(PHONE)
    assert at(sim, validation, own).json["disposition"] == "ok"
    assert own().json["cached"] is True, "without --strict-hosts the other port serves both"
    for call in (lambda: sim.upsert(PHONE), lambda: sim.request("GET", UPSERT),
                 lambda: sim.request("GET", UPSERT + "/%2B12125550001")):
        refused = at(sim, validation, call)
        assert (refused.status, refused.code) == (404, "not_found")
    assert sim.upsert(PHONE).status == 201
    assert [line.get("host") for line in sim.book("received", op="validate")] == ["validation", None]
    assert at(sim, validation, lambda: sim.request("POST", VALIDATE, {}, {"X-Api-Key": "x"})).code == "invalid_api_key"


def test_strict_hosts(start_sim):
    sim = start_sim("--validation-listen", "127.0.0.1:0", "--strict-hosts")
    refused = sim.validate(PHONE)
    assert (refused.status, refused.code) == (404, "not_found")
    assert sim.stats()["lookups_paid"] == 0
    assert sim.upsert(PHONE, use_validation=True).json["validation"]["cost"] == 0.003
    assert at(sim, sim.ports[1], lambda: sim.validate(PHONE)).json["cached"] is True


def test_hosts_with_tls(start_sim, tmp_path):
    import ssl
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    sim = start_sim("--tls-cert", cert, "--tls-key", key, "--tls-listen", "127.0.0.1:0", "--validation-listen", "127.0.0.1:0",
                    "--validation-tls-listen", "127.0.0.1:0")
    assert len(sim.ports) == 5
    context = ssl.create_default_context(cafile=cert)
    body = json.dumps({"phone": PHONE}).encode()
    raw = Raw(sim.ports[3], lambda plain: context.wrap_socket(plain, server_hostname="localhost"))
    raw.send(f"POST {VALIDATE} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Type: application/json\r\n"
             f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert json.loads(raw.read_answer()[1])["disposition"] == "ok"
    raw.close()
    assert at(sim, sim.ports[2], lambda: sim.validate(PHONE)).json["cached"] is True


@pytest.mark.parametrize("options", [["--strict-hosts"], ["--validation-tls-listen", "127.0.0.1:0"]])
def test_usage(options):
    assert subprocess.run([binary(), *options], capture_output=True, check=False).returncode == 64


# ---- what a number is
@pytest.mark.parametrize("line_type, line_type_v2", [
    ("mobile", "CELL PHONE"), ("fixed line", "LANDLINE"), ("voip", "VOIP"), ("other", "FAKE"), ("unknown", "UNKNOWN")])
@pytest.mark.parametrize("disposition", ["ok", "unreachable", "risky", "invalid", "unknown"])
def test_every_disposition_and_line_type(sim, disposition, line_type, line_type_v2):
    steer(sim, disposition=disposition, line_type=line_type)
    answer = sim.validate(PHONE).json
    assert (answer["disposition"], answer["line_type"]) == (disposition, line_type)
    assert (answer["valid"], answer["on_dnc"]) == (disposition != "invalid", disposition == "risky")
    assert sim.upsert(PHONE, use_validation=True).json["validation"] == {**answer, "cost": 0, "cached": True}
    assert sim.request("GET", UPSERT + "/%2B12125550001").json["line_type"] == line_type_v2


def test_every_field_can_be_said(sim):
    said = {"disposition": "risky", "line_type": "voip", "carrier": "Éire Télécom", "carrier_raw": "X", "country": "IE",
            "state": "", "city": "Cork", "valid": False, "ported": True, "on_dnc": False}
    steer(sim, **said)
    assert sim.validate(PHONE).json == {**said, "phone": PHONE, "cost": 0.003, "cached": False}
    steer(sim)
    assert sim.validate(PHONE, force=True).json["disposition"] == "ok", "the phone alone: what its digits say"
    steer(sim, disposition="do_not_contact")
    assert sim.validate(PHONE, force=True).json["disposition"] == "do_not_contact", "one that nobody has documented"


def test_defaults_go_with_the_disposition(sim):
    for disposition, line_type, valid, on_dnc in [
            ("ok", "mobile", True, False), ("unreachable", "fixed line", True, False), ("risky", "mobile", True, True),
            ("invalid", "other", False, False), ("unknown", "unknown", True, False)]:
        steer(sim, disposition=disposition)
        answer = sim.validate(PHONE, force=True).json
        assert (answer["line_type"], answer["valid"], answer["on_dnc"]) == (line_type, valid, on_dnc)


def test_what_is_known_is_told_again(sim):
    """The account is told for nothing what it was told before, whatever has become of the number since."""
    assert sim.validate(PHONE).json["disposition"] == "ok"
    steer(sim, disposition="invalid", provider_error=True)
    again = sim.validate(PHONE).json
    assert (again["disposition"], again["cached"], again["cost"]) == ("ok", True, 0)
    assert sim.validate(PHONE, force=True).code == "provider_error", "what is known needs no provider, a fresh look does"
    steer(sim, disposition="invalid")
    fresh = sim.validate(PHONE, force=True).json
    assert (fresh["disposition"], fresh["cached"], fresh["cost"]) == ("invalid", False, 0.003)
    steer(sim, disposition="ok")
    assert sim.validate(PHONE).json["disposition"] == "invalid"


def test_one_price_for_the_account(start_sim):
    """All keys belong to one account: what one has paid for is free for the other, alone, in an upsert, in a batch."""
    sim = start_sim("--key", "trk_a", "--key", "trk_b")
    ask = lambda key: sim.request("POST", VALIDATE, {"phone": PHONE}, {"X-Api-Key": key}).json["cached"]
    assert [ask("trk_a"), ask("trk_b")] == [False, True]
    batch = {"phones": [PHONE, OTHER]}
    assert sim.request("POST", VALIDATE + "/batch", batch, {"X-Api-Key": "trk_a"}).json["summary"]["cached"] == 1
    assert sim.stats()["lookups_paid"] == 2


def test_validated_before_or_never(sim):
    steer(sim, disposition="risky", validated=True)
    first = sim.validate(PHONE).json
    assert (first["disposition"], first["cached"], first["cost"]) == ("risky", True, 0)
    steer(sim, validated=False)
    assert sim.validate(PHONE).json["cost"] == 0.003
    steer(sim, OTHER, validated=True)
    assert sim.validate(OTHER).json["cached"] is True
    assert sim.stats()["lookups_paid"] == 1


def test_a_refused_lookup_is_neither_paid_nor_remembered(sim):
    for code, ask in [("provider_error", dict(provider_error=True)), (None, {})]:
        steer(sim, **ask)
        answer = sim.validate(PHONE)
        assert answer.code == code
    assert answer.json["cached"] is False
    assert [(line["lookups"], line["paid_lookups"]) for line in sim.book("received")] == [(0, 0), (1, 1)]


def test_not_sendable(sim):
    steer(sim, disposition="unreachable", not_sendable=True)
    refused = sim.upsert(PHONE, use_validation=True)
    assert (refused.status, refused.code) == (400, "not_sendable")
    line, = sim.book("received")
    assert (line["applied"], line["paid_lookups"], line["disposition"]) == (False, 1, "unreachable"), "paid all the same"
    assert sim.upsert(PHONE).status == 201


@pytest.mark.parametrize("body", [
    {}, {"phone": "2125550001"}, {"phone": 12125550001}, {"phone": PHONE, "dispositon": "ok"}, {"phone": PHONE, "disposition": 1},
    {"phone": PHONE, "disposition": ""}, {"phone": PHONE, "valid": "yes"}, {"phone": PHONE, "carrier": "a\"b"},
    {"phone": PHONE, "carrier": "x" * 48}, {"phone": PHONE, "validated": 1}, {"phone": PHONE, "cost": 1}, []])
def test_what_cannot_be_steered(sim, body):
    sim.control("POST", "/_sim/phone", body, status=400)
    assert sim.validate(PHONE).json["disposition"] == "ok"


def test_reset_forgets_it_all(sim):
    steer(sim, disposition="risky", validated=True)
    sim.control("POST", "/_sim/lists", [OTHER_LIST])
    sim.control("POST", "/_sim/journeys", {"journeys": 5})
    sim.control("POST", "/_sim/reset")
    answer = sim.validate(PHONE).json
    assert (answer["disposition"], answer["cached"]) == ("ok", False)
    assert sim.upsert(PHONE, use_journeys=True).json["journeys_enrolled"] == 1


# ---- force
@pytest.mark.parametrize("force", ["true", "false", 1, 0, None, [], {}, ""])
def test_force_is_a_strict_boolean(sim, force):
    for path, body in [(VALIDATE, {"phone": PHONE}), (VALIDATE + "/batch", {"phones": [PHONE]})]:
        refused = sim.request("POST", path, {**body, "force": force})
        assert (refused.status, refused.code) == (400, "invalid_force")
    assert sim.stats()["lookups_paid"] == sim.stats()["lookups_cached"] == 0


# ---- the book
def test_every_lookup_is_in_the_book(sim):
    sim.validate(PHONE)
    sim.validate(PHONE, force=False)
    sim.validate("(212) 555-9003", force=True)
    sim.validate("nonsense")
    sim.upsert(OTHER, use_validation=True)
    sim.upsert(OTHER, use_validation=True, force=True)
    sim.upsert(OTHER)
    lines = [(line["op"], line["phone"], line["use_validation"], line["force"], line["lookups"], line["paid_lookups"],
              line.get("disposition")) for line in sim.book("received")]
    assert lines == [
        ("validate", PHONE, None, None, 1, 1, "ok"), ("validate", PHONE, None, False, 1, 0, "ok"),
        ("validate", "(212) 555-9003", None, True, 1, 1, "risky"), ("validate", "nonsense", None, None, 0, 0, None),
        ("upsert", OTHER, True, None, 1, 1, "ok"), ("upsert", OTHER, True, True, 1, 1, "ok"),
        ("upsert", OTHER, None, None, 0, 0, None)]
    stats = sim.stats()
    assert (stats["lookups_paid"], stats["lookups_cached"]) == (4, 1)


def test_the_book_has_every_lookup_after_kill(start_sim):
    """Whoever has an answer in hand finds its line, also after kill -9: money is not forgotten."""
    sim = start_sim()
    raws = [raw_validate(sim, f"+1212555{i:04d}") for i in range(64)]
    for raw in raws:
        raw.read_answer()
    sim.kill()
    with open(sim.book_path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    paid = sorted(line["phone"] for line in lines if line["phase"] == "received" and line["paid_lookups"] == 1)
    assert paid == [f"+1212555{i:04d}" for i in range(64)]


# ---- faults of this route alone
@pytest.mark.parametrize("status, code", [(402, "payment_failed"), (429, "rate_limited"), (500, "internal_error"),
                                          (503, "provider_error"), (401, "invalid_api_key"), (403, None)])
def test_refusals_of_the_route_alone(sim, status, code):
    sim.fault({"status": status, "error": "told to", "headers": {"Retry-After": "2"}, **({"code": code} if code else {})},
              op="validate", count=2)
    refused = [sim.validate(PHONE) for _ in range(2)]
    assert [(one.status, one.code, one.headers["Retry-After"]) for one in refused] == [(status, code, "2")] * 2
    assert sim.upsert(PHONE, use_validation=True).json["validation"]["cached"] is False, "other routes are well"
    assert sim.validate(PHONE).json["cached"] is True


def test_slow_answers_of_the_route_alone(sim):
    sim.fault({"delay_ms": 150}, op="validate")
    begun = time.monotonic()
    sim.upsert(PHONE)
    between = time.monotonic()
    sim.validate(PHONE)
    assert between - begun < 0.15 <= time.monotonic() - between


@pytest.mark.parametrize("kind", ["garbage", "empty_body", "html_body", "success_false", "truncated_body", "bad_chunk",
                                  "short_length", "close", "reset"])
def test_spoilt_answers_of_the_route_alone(sim, kind):
    sim.fault({"kind": kind}, op="validate", count=1)
    raw = raw_validate(sim)
    if kind in ("empty_body", "html_body", "success_false", "short_length"):
        spoilt = raw.read_answer()[1]
        assert b"disposition" not in spoilt or kind == "short_length"
    else:
        raw.read_end()
    raw.close()
    assert sim.upsert(PHONE).status == 201
    applied = kind in ("empty_body", "html_body", "truncated_body", "bad_chunk", "short_length")
    assert sim.stats()["lookups_paid"] == applied, "paid where the client gets (part of) a good answer"
    assert sim.validate(PHONE).json["cached"] is applied


def test_an_answer_about_another_phone(sim):
    sim.fault({"kind": "wrong_contact"}, op="validate", count=1)
    answer = sim.validate(PHONE)
    assert answer.status == 200 and answer.json["phone"] == OTHER
    assert sim.validate(PHONE).json["phone"] == PHONE


def test_a_body_of_ones_own(sim):
    sim.fault({"status": 200, "body": "{\"disposition\":7}"}, op="validate", phone=PHONE, count=1)
    assert sim.validate(OTHER).json["disposition"] == "ok"
    assert sim.validate(PHONE).json == {"disposition": 7}


# ---- lists and journeys of the account
def test_lists_change(sim):
    sim.control("POST", "/_sim/lists", [LIST, "+442079460000"])
    assert sim.upsert(PHONE).status == 201
    assert sim.upsert(PHONE, list_number="+442079460000").status == 200
    assert sim.upsert(PHONE, list_number=OTHER_LIST).code == "list_not_found"
    sim.control("POST", "/_sim/lists", [OTHER_LIST])
    assert (sim.upsert(PHONE).status, sim.upsert(PHONE).code) == (400, "list_not_found")
    sim.control("POST", "/_sim/lists", [])
    assert sim.upsert(PHONE).status == 200
    for bad in ({"lists": []}, ["8005550100"], [7]):
        sim.control("POST", "/_sim/lists", bad, status=400)


def test_a_lookup_for_a_list_that_is_not_owned_costs_nothing(sim):
    sim.control("POST", "/_sim/lists", [OTHER_LIST])
    assert sim.upsert(PHONE, use_validation=True).code == "list_not_found"
    assert sim.stats()["lookups_paid"] == 0


def test_journeys_of_a_list(sim):
    sim.control("POST", "/_sim/journeys", {"list": LIST, "journeys": 3})
    sim.control("POST", "/_sim/journeys", {"list": OTHER_LIST, "journeys": 0})
    assert sim.upsert(PHONE, use_journeys=True).json["journeys_enrolled"] == 3
    assert sim.upsert(PHONE, use_journeys=True, list_number=OTHER_LIST).json["journeys_enrolled"] == 0
    assert "Welcome Journeys" in sim.upsert(OTHER).json["warnings"][0]
    assert "warnings" not in sim.upsert(OTHER, list_number=OTHER_LIST).json, "nothing was missed there"
    bulk = {"contacts": [{"phone_number": OTHER, "list_number": OTHER_LIST},
                         {"phone_number": OTHER, "list_number": LIST, "use_journeys": True}]}
    assert "warnings" not in sim.request("POST", UPSERT + "/bulk", bulk).json
    bulk["contacts"][1]["use_journeys"] = False
    assert len(sim.request("POST", UPSERT + "/bulk", bulk).json["warnings"]) == 1
    sim.control("POST", "/_sim/journeys", {"journeys": 0})
    assert "warnings" not in sim.upsert(OTHER).json
    for bad in ({}, {"journeys": -1}, {"journeys": "1"}, {"journeys": 1, "list": "x"}, {"journeys": 1, "lists": []}):
        sim.control("POST", "/_sim/journeys", bad, status=400)
