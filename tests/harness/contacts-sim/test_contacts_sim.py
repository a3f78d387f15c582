"""The contacts simulator answers as the contract says, and its book and counters tell the truth."""
import json

import pytest

from simtest import KEY, LIST, UPSERT, VALIDATE, Raw, contact_body, request_bytes

PHONE = "+12125550001"
OTHER = "+12125550002"


# ---- upsert
def test_upsert_creates_then_updates(sim):
    first = sim.upsert(PHONE, use_journeys=True)
    assert first.status == 201
    assert first.json["success"] is True
    assert isinstance(first.json["contact_id"], str) and isinstance(first.json["list_contact_id"], str)
    assert (first.json["is_new_contact"], first.json["is_new_list_contact"]) == (True, True)
    assert first.json["journeys_enrolled"] == 1
    assert "warnings" not in first.json and "validation" not in first.json
    again = sim.upsert(PHONE, use_journeys=True)
    assert again.status == 200
    assert (again.json["is_new_contact"], again.json["is_new_list_contact"]) == (False, False)
    assert again.json["journeys_enrolled"] == 0
    assert again.json["contact_id"] == first.json["contact_id"]
    assert again.json["list_contact_id"] == first.json["list_contact_id"]


def test_upsert_on_a_second_list_is_the_same_contact(sim):
    first = sim.upsert(PHONE, use_journeys=True)
    second = sim.upsert(PHONE, use_journeys=True, list_number="+18005550101")
    assert second.json["contact_id"] == first.json["contact_id"]
    assert second.json["list_contact_id"] != first.json["list_contact_id"]
    assert (second.json["is_new_contact"], second.json["is_new_list_contact"]) == (False, True)
    assert second.json["journeys_enrolled"] == 1


@pytest.mark.parametrize("fields, enrolled", [
    ({}, [0, 0]),
    ({"use_journeys": False}, [0, 0]),
    ({"use_journeys": True}, [1, 0]),
    ({"use_journeys": True, "skip_journey_if_exists": True}, [1, 0]),
    ({"use_journeys": True, "skip_journey_if_exists": False}, [1, 1]),
    ({"use_journeys": False, "skip_journey_if_exists": False}, [0, 0]),
])
def test_enrolment(sim, fields, enrolled):
    assert [sim.upsert(PHONE, **fields).json["journeys_enrolled"] for _ in range(2)] == enrolled
    stats = sim.stats()
    assert stats["enrolments"] == sum(enrolled) == sim.contact(PHONE)["enrolments"]
    assert stats["enrolled_more_than_once"] == (sum(enrolled) > 1)
    assert sum(line["enrolled"] for line in sim.book("received")) == sum(enrolled)


def test_journeys_missed_is_warned_about(sim):
    assert "Welcome Journeys" in sim.upsert(PHONE).json["warnings"][0]


def test_journeys_option(start_sim):
    sim = start_sim("--journeys", "3")
    assert sim.upsert(PHONE, use_journeys=True).json["journeys_enrolled"] == 3
    stats = sim.stats()
    assert (stats["enrolments"], stats["journeys_enrolled"], stats["enrolled_more_than_once"]) == (1, 3, 0)


def test_no_journeys_no_warning(start_sim):
    assert "warnings" not in start_sim("--journeys", "0").upsert(PHONE).json


def test_custom_fields_merge_and_override(sim):
    sim.upsert(PHONE, custom_fields={"a": 1, "b": "x"})
    sim.upsert(PHONE, custom_fields={"b": True, "c": 1.5})
    assert sim.contact(PHONE)["custom_fields"] == {"a": 1, "b": True, "c": 1.5}
    sim.upsert(PHONE)
    assert sim.contact(PHONE)["custom_fields"] == {"a": 1, "b": True, "c": 1.5}
    sim.upsert(PHONE, custom_fields={"d": "é"}, override_custom_fields=True)
    assert sim.contact(PHONE)["custom_fields"] == {"d": "é"}


def test_unsubscribed_stays_so(sim):
    sim.upsert(PHONE)
    sim.control("POST", "/_sim/contact", {"phone": PHONE, "list": LIST, "active": False})
    answer = sim.upsert(PHONE, use_journeys=True, skip_journey_if_exists=False)
    assert answer.json["journeys_enrolled"] == 0 and "unsubscribed" in answer.json["warnings"][0]
    assert sim.contact(PHONE)["active"] is False
    assert sim.stats()["upserts_of_unsubscribed"] == 1


@pytest.mark.parametrize("fields, status, code", [
    ({"phone_number": None}, 400, "missing_phone_number"),
    ({"phone_number": ""}, 400, "missing_phone_number"),
    ({"phone_number": 12125550001}, 400, "invalid_phone"),
    ({"phone_number": "2125550001"}, 400, "invalid_phone"),
    ({"phone_number": "+1212555000"}, 400, "invalid_phone"),
    ({"phone_number": "+121255500011"}, 400, "invalid_phone"),
    ({"phone_number": "+0125550001"}, 400, "invalid_phone"),
    ({"phone_number": "+1212555000x"}, 400, "invalid_phone"),
    ({"list_number": None}, 400, "missing_list_number"),
    ({"list_number": ""}, 400, "missing_list_number"),
    ({"list_number": ["+18005550100"]}, 400, "invalid_list_number"),
    ({"list_number": "8005550100"}, 400, "invalid_list_number"),
    ({"list_number": "+442079460000"}, 400, "list_not_found"),
    ({"use_journeys": "true"}, 400, "invalid_field"),
    ({"use_journeys": None}, 400, "invalid_field"),
    ({"skip_journey_if_exists": 1}, 400, "invalid_field"),
    ({"override_custom_fields": 0}, 400, "invalid_field"),
    ({"use_validation": "yes"}, 400, "invalid_field"),
    ({"force": 1}, 400, "invalid_field"),
    ({"signup_date": 1742049000}, 400, "invalid_field"),
    ({"signup_date": "2025-03-15T14:30:00"}, 400, "invalid_field"),
    ({"signup_date": "2025-03-15T14:30:00+00:00"}, 400, "invalid_field"),
    ({"signup_date": "2025-02-30T14:30:00Z"}, 400, "invalid_field"),
    ({"signup_date": "2025-03-15 14:30:00Z"}, 400, "invalid_field"),
    ({"signup_date": "2025-3-15T14:30:00Z"}, 400, "invalid_field"),
    ({"ip_address": "203.0.113.300"}, 400, "invalid_field"),
    ({"ip_address": 7}, 400, "invalid_field"),
    ({"url": "example.com"}, 400, "invalid_field"),
    ({"url": "https://"}, 400, "invalid_field"),
    ({"url": {}}, 400, "invalid_field"),
    ({"ad_network_source": 1}, 400, "invalid_field"),
    ({"ad_network_id": 42}, 400, "invalid_field"),
    ({"custom_fields": "x"}, 400, "invalid_field"),
    ({"custom_fields": {"a": {"b": 1}}}, 400, "invalid_field"),
    ({"custom_fields": {"a": [1]}}, 400, "invalid_field"),
    ({"custom_fields": {"a": None}}, 400, "invalid_field"),
    ({"event_id": "e1"}, 400, "invalid_field"),
    ({"custom_fields": {"a": "x" * 4000}}, 413, "payload_too_large"),
])
def test_upsert_refusals(sim, fields, status, code):
    body = {"phone_number": PHONE, "list_number": LIST, **fields}
    answer = sim.request("POST", UPSERT, body)
    assert (answer.status, answer.code) == (status, code), answer.json
    assert isinstance(answer.json["error"], str)
    assert sim.stats()["contacts"] == 0
    assert [(line["applied"], line["code"]) for line in sim.book("received")] == [(False, code)]
    assert [line["status"] for line in sim.book("answered")] == [status]


@pytest.mark.parametrize("missing, code", [("phone_number", "missing_phone_number"),
                                           ("list_number", "missing_list_number")])
def test_upsert_missing(sim, missing, code):
    body = {"phone_number": PHONE, "list_number": LIST}
    del body[missing]
    assert sim.request("POST", UPSERT, body).code == code


@pytest.mark.parametrize("fields", [
    {"signup_date": "2025-03-15T14:30:00Z"}, {"signup_date": "2024-02-29T23:59:59.123456Z"},
    {"ip_address": "2001:db8::1"}, {"ip_address": "203.0.113.7"}, {"url": "https://example.com/a?b=c#d"},
    {"url": "http://example.com"}, {"ad_network_source": "adwords",
                                    "ad_network_id": "x"}, {"custom_fields": {}},
    {"force": True}, {"phone_number": "+447911123456"},
])
def test_upsert_takes_every_documented_field(sim, fields):
    assert sim.upsert(**{"phone": PHONE, **{("phone" if k == "phone_number" else k): v
                                            for k, v in fields.items()}}).status == 201


def test_contact_limit_is_4000_bytes_of_the_wire(sim):
    base = len(contact_body(PHONE, custom_fields={"a": ""}))
    assert sim.upsert(PHONE, custom_fields={"a": "x" * (4000 - base)}).status == 201
    assert sim.upsert(PHONE, custom_fields={"a": "x" * (4001 - base)}).code == "payload_too_large"


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"", b'{"a":1}x', b'{"phone_number":"\xff"}',
                                  b'{"phone_number":"+12125550001","phone_number":"+12125550001"}'])
def test_bad_json(sim, body):
    answer = sim.request("POST", UPSERT, body)
    assert (answer.status, answer.code) == (400, "invalid_json")


def test_content_type(sim):
    for kind, status in [("application/json; charset=utf-8", 201), ("text/plain", 400), (None, 400),
                         ("application/jsonx", 400)]:
        assert sim.request("POST", UPSERT, contact_body(PHONE), {"Content-Type": kind}).status == status


def test_request_over_5_mb(sim):
    answer = sim.request("POST", UPSERT, b" " * 5_000_001)
    assert (answer.status, answer.code) == (413, "payload_too_large")


# ---- keys
@pytest.mark.parametrize("key", [None, "", "trk_wrong", KEY + " ", KEY + "x", KEY[:-1], KEY.upper()])
def test_key(sim, key):
    for method, path, body in [("POST", UPSERT, {}), ("GET", UPSERT, None),
                               ("GET", UPSERT + "/%2B12125550001", None),
                               ("POST", UPSERT + "/bulk", {}), ("GET", "/api/v2/nothing", None)]:
        answer = sim.request(method, path, body, {"X-Api-Key": key})
        assert (answer.status, answer.code) == (401, "unauthorized")
    for path in (VALIDATE, VALIDATE + "/batch"):
        answer = sim.request("POST", path, {}, {"X-Api-Key": key})
        assert (answer.status, answer.code) == (401, "missing_api_key" if key is None else "invalid_api_key")
    assert sim.stats()["unauthorized"] == 7


def test_key_sent_twice(sim):
    raw = Raw(sim.port).send(request_bytes(PHONE, extra=f"X-Api-Key: {KEY}\r\n"))
    assert b" 401 " in raw.read_answer()[0]
    raw.close()


def test_keys_rotate(sim):
    sim.control("POST", "/_sim/keys", ["trk_new", "trk_newer"])
    assert sim.upsert(PHONE).status == 401
    assert sim.request("POST", UPSERT, contact_body(PHONE), {"X-Api-Key": "trk_newer"}).status == 201
    sim.control("POST", "/_sim/keys", {"keys": []}, status=400)


def test_key_option(start_sim):
    sim = start_sim("--key", "trk_a", "--key", "trk_b")
    assert sim.upsert(PHONE).status == 401
    for key in ("trk_a", "trk_b"):
        assert sim.request("POST", UPSERT, contact_body(PHONE), {"X-Api-Key": key}).status in (200, 201)


def test_lists_option(start_sim):
    sim = start_sim("--lists", "+18005550100,+442079460000")
    assert sim.upsert(PHONE).status == 201
    assert sim.upsert(PHONE, list_number="+442079460000").status == 200
    assert sim.upsert(PHONE, list_number="+18005550101").code == "list_not_found"


def test_lenient(start_sim):
    sim = start_sim("--lenient")
    assert sim.upsert("(212) 555-0001", event_id="x").status == 201
    assert sim.contact(PHONE)["exists"] is True
    assert sim.upsert(PHONE, use_journeys="true").status == 400


# ---- validation
DISPOSITIONS = [("+12125551234", "ok", "mobile", "CELL PHONE"),
                ("+12125559001", "unreachable", "fixed line", "LANDLINE"),
                ("+12125559002", "unreachable", "voip", "VOIP"), ("+12125559003", "risky", "mobile",
                                                                  "CELL PHONE"),
                ("+12125559004", "invalid", "other", "FAKE"), ("+12125559005", "unknown", "unknown",
                                                               "UNKNOWN")]


@pytest.mark.parametrize("phone, disposition, line_type, line_type_v2", DISPOSITIONS)
def test_validate(sim, phone, disposition, line_type, line_type_v2):
    answer = sim.validate(phone).json
    assert set(answer) == {"phone", "valid", "line_type", "carrier", "carrier_raw", "ported", "country",
                           "state",
                           "city", "on_dnc", "disposition", "cost", "cached"}
    assert (answer["phone"], answer["disposition"], answer["line_type"]) == (phone, disposition, line_type)
    assert (answer["cost"], answer["cached"]) == (0.003, False)
    assert answer["valid"] is (disposition != "invalid") and answer["on_dnc"] is (disposition == "risky")
    again = sim.validate(phone).json
    assert (again["cost"], again["cached"]) == (0, True)
    forced = sim.validate(phone, force=True).json
    assert (forced["cost"], forced["cached"]) == (0.003, False)
    inside = sim.upsert(phone, use_validation=True)
    assert inside.status == 201 and inside.json["validation"]["disposition"] == disposition
    assert inside.json["validation"]["cached"] is True
    assert sim.upsert(phone, use_validation=True, force=True).json["validation"]["cached"] is False
    assert sim.request("GET", UPSERT + "/%2B" + phone[1:]).json["line_type"] == line_type_v2
    stats = sim.stats()
    assert (stats["lookups_paid"], stats["lookups_cached"]) == (3, 2)
    assert sum(line["paid_lookups"] for line in sim.book("received")) == 3


@pytest.mark.parametrize("spelling", ["4155551234", "(415) 555-1234", "415-555-1234", "+1 415 555 1234",
                                      "14155551234", "+14155551234"])
def test_validate_normalizes(sim, spelling):
    assert sim.validate(spelling).json["phone"] == "+14155551234"


@pytest.mark.parametrize("body, code", [
    ({}, "missing_phone"), ({"phone": ""}, "missing_phone"), ({"phone": None}, "missing_phone"),
    ({"phone": 4155551234}, "invalid_phone"), ({"phone": "5551234"}, "invalid_phone"),
    ({"phone": "abc"}, "invalid_phone"), ({"phone": "+1 415 555 12345"}, "invalid_phone"),
    ({"phone": PHONE, "force": "true"}, "invalid_force"), ({"phone": PHONE, "force": 1}, "invalid_force"),
    ({"phone": PHONE, "force": None}, "invalid_force"), ({"phone": PHONE, "extra": 1}, "invalid_field")])
def test_validate_refusals(sim, body, code):
    answer = sim.request("POST", VALIDATE, body)
    assert (answer.status, answer.code) == (400, code)
    assert sim.stats()["lookups_paid"] == 0


def test_provider_and_carrier_refusals(sim):
    assert (sim.validate("+12125559006").status, sim.validate("+12125559006").code) == (503, "provider_error")
    refused = sim.upsert("+12125559006", use_validation=True)
    assert (refused.status, refused.code) == (503, "provider_error")
    refused = sim.upsert("+12125559007", use_validation=True)
    assert (refused.status, refused.code) == (400, "not_sendable")
    assert sim.stats()["contacts"] == 0
    assert sim.upsert("+12125559007").status == 201


@pytest.mark.parametrize("code", ["no_billing_config", "no_payment_method", "payment_failed", "suspended"])
def test_billing(sim, code):
    sim.control("POST", "/_sim/billing", {"code": code})
    bulk = {"contacts": [{"phone_number": PHONE, "list_number": LIST},
                         {"phone_number": OTHER, "list_number": LIST, "use_validation": True}]}
    for answer in (sim.validate(PHONE), sim.upsert(PHONE, use_validation=True),
                   sim.request("POST", UPSERT + "/bulk", bulk),
                   sim.request("POST", VALIDATE + "/batch", {"phones": [PHONE]})):
        assert (answer.status, answer.code) == (402, code)
    assert sim.stats()["contacts"] == 0
    assert [line["code"] for line in sim.book("received", op="upsert")] == [code]
    assert sim.upsert(PHONE).status == 201
    sim.control("POST", "/_sim/billing", {"code": "" if code == "suspended" else None})
    assert sim.validate(PHONE).status == 200


def test_validate_batch(sim):
    answer = sim.request("POST", VALIDATE + "/batch", {"phones": [PHONE, "nonsense", OTHER, PHONE, 7]}).json
    assert [one.get("code", "ok") for one in answer["results"]] == ["ok", "invalid_phone", "ok", "ok",
                                                                    "invalid_phone"]
    assert set(answer["results"][1]) == {"phone", "error", "code", "message"}
    assert answer["summary"] == {"total": 5, "succeeded": 3, "failed": 2, "cached": 1, "total_cost": 0.006}
    post = lambda body: sim.request("POST", VALIDATE + "/batch", body)
    assert post({}).code == "missing_phones"
    assert post({"phones": [PHONE], "force": "x"}).code == "invalid_force"
    assert (post({"phones": [PHONE] * 501}).status, post({"phones": [PHONE] * 501}).code) == (413,
            "too_many_phones")
    assert post({"phones": [PHONE] * 500}).json["summary"]["cached"] == 500


# ---- reading
def test_get(sim):
    sim.upsert(PHONE, signup_date="2025-03-15T14:30:00Z", custom_fields={"a": "b"})
    sim.upsert(PHONE, list_number="+18005550101")
    sim.control("POST", "/_sim/contact", {"phone": PHONE, "list": LIST, "active": False})
    answer = sim.request("GET", UPSERT + "/%2B12125550001")
    assert answer.status == 200
    assert set(answer.json) == {"phone_number", "carrier", "line_type", "timezone", "is_valid", "lists"}
    by_list = {one["list_number"]: one for one in answer.json["lists"]}
    one = by_list[LIST]
    assert set(one) == {"list_id", "list_number", "active", "signup_date", "custom_fields", "send_count",
                        "click_count"}
    assert (one["active"], one["signup_date"], one["custom_fields"]) == (False, "2025-03-15T14:30:00",
            {"a": "b"})
    assert by_list["+18005550101"]["active"] is True


def test_unsubscribed_on_one_list_alone(sim):
    """What a read says after a contact opted out of one of its lists, and in again."""
    def active():
        lists = sim.request("GET", UPSERT + "/%2B12125550001").json["lists"]
        return {one["list_number"]: one["active"] for one in lists}

    sim.upsert(PHONE)
    sim.upsert(PHONE, list_number="+18005550101")
    assert active() == {LIST: True, "+18005550101": True}
    sim.control("POST", "/_sim/contact", {"phone": PHONE, "list": LIST, "active": False})
    assert active() == {LIST: False, "+18005550101": True}
    sim.upsert(PHONE)
    assert active()[LIST] is False, "an upsert does not subscribe anybody again"
    sim.control("POST", "/_sim/contact", {"phone": PHONE, "list": LIST, "active": True})
    assert active() == {LIST: True, "+18005550101": True}


def test_a_contact_that_came_by_another_way(sim):
    sim.control("POST", "/_sim/contact", {"phone": PHONE, "list": LIST, "active": False}, status=404)
    sim.control("POST", "/_sim/contact", {"phone": PHONE, "list": LIST, "active": False, "create": True})
    one, = sim.request("GET", UPSERT + "/%2B12125550001").json["lists"]
    assert (one["list_number"], one["active"]) == (LIST, False)
    assert sim.contact(PHONE)["calls"] == sim.contact(PHONE)["enrolments"] == 0
    answer = sim.upsert(PHONE, use_journeys=True)
    assert (answer.json["is_new_contact"], answer.json["journeys_enrolled"]) == (False, 0)
    assert sim.stats()["upserts_of_unsubscribed"] == 1
    for body in ({"phone": PHONE, "list": LIST}, {"phone": PHONE, "list": LIST, "active": 1},
                 {"phone": PHONE, "list": LIST, "active": True, "creat": True}):
        sim.control("POST", "/_sim/contact", body, status=400)


@pytest.mark.parametrize("path, status, code", [
    ("/%2B12125559999", 404, "not_found"), ("/+12125550001", 400, "invalid_phone"),
    ("/12125550001", 400, "invalid_phone"), ("/%2B1212", 400, "invalid_phone"), ("/%2B1212555000a", 400,
            "invalid_phone")])
def test_get_refusals(sim, path, status, code):
    sim.upsert(PHONE)
    answer = sim.request("GET", UPSERT + path)
    assert (answer.status, answer.code) == (status, code)


def test_a_call_that_was_refused_or_only_validated_is_no_contact(sim):
    sim.validate(PHONE)
    sim.upsert(PHONE, use_journeys="x")
    assert sim.request("GET", UPSERT + "/%2B12125550001").status == 404
    assert sim.contact(PHONE)["calls"] == 1 and sim.contact(PHONE)["exists"] is False
    assert sim.upsert(PHONE).json["is_new_contact"] is True


def test_list(sim):
    for i in range(7):
        sim.upsert(f"+1212555010{i}", signup_date=f"2025-03-1{i}T00:00:00Z")
    sim.upsert("+12125550200", list_number="+18005550101", signup_date="2025-01-01T00:00:00Z")
    sim.control("POST", "/_sim/contact", {"phone": "+12125550103", "list": LIST, "active": False})
    page = sim.request("GET", UPSERT + "?list_number=%2B18005550100&per_page=3&page=1").json
    assert [one["phone_number"][-1] for one in page["contacts"]] == ["6", "5", "4"]
    assert page["pagination"] == {"page": 1, "per_page": 3, "total": 7, "total_pages": 3}
    assert set(page["contacts"][0]) == {
        "phone_number", "list_number", "list_id", "active", "signup_date", "signup_method", "custom_fields",
        "carrier", "line_type", "timezone", "is_valid", "send_count", "click_count", "revenue_total",
        "conversion_count",
        "last_sent_at", "last_clicked_at", "in_workflow"}
    last = sim.request("GET", UPSERT + "?list_number=%2B18005550100&per_page=3&page=3").json
    assert [one["phone_number"][-1] for one in last["contacts"]] == ["0"]
    assert sim.request("GET", UPSERT + "?per_page=3&page=9").json["contacts"] == []
    get = lambda query: sim.request("GET", UPSERT + query)
    assert get("").json["pagination"] == {"page": 1, "per_page": 50, "total": 8, "total_pages": 1}
    assert get("?active=true").json["pagination"]["total"] == 7
    assert [one["phone_number"] for one in get("?active=false").json["contacts"]] == ["+12125550103"]
    for bad in ("?active=yes", "?page=0", "?per_page=1001", "?per_page=x", "?list_number=+18005550100",
                "?nothing=1"):
        assert get(bad).status == 400, bad


def test_unknown_paths_and_methods(sim):
    for method, path, status in [("GET", "/api/v2/nothing", 404), ("POST", "/api/v1/contacts", 404),
                                 ("PUT", UPSERT, 405),
                                 ("DELETE", UPSERT + "/%2B12125550001", 405), ("GET", VALIDATE, 405),
                                 ("GET", UPSERT + "/bulk", 405), ("POST", UPSERT + "/", 404)]:
        assert sim.request(method, path).status == status, (method, path)


# ---- bulk
def test_bulk(sim):
    sim.upsert(OTHER)
    good = {"phone_number": PHONE, "list_number": LIST, "use_journeys": True}
    contacts = [good, {**good, "phone_number": OTHER}, {**good, "phone_number": "x"}, 7,
                {**good, "custom_fields": {"a": "x" * 4000}}, {**good, "phone_number": "+12125559006",
                                                               "use_validation": True},
                {**good, "phone_number": "+12125559007", "use_validation": True}, good]
    answer = sim.request("POST", UPSERT + "/bulk", {"contacts": contacts}).json
    assert (answer["success_count"], answer["error_count"]) == (3, 5)
    assert [(one["index"], one["code"]) for one in answer["errors"]] == [
        (2, "invalid_phone"), (3, "invalid_field"), (4, "payload_too_large"), (5, "provider_error"), (6,
                "validation_failed")]
    assert answer["errors"][4]["validation"]["line_type"] == "voip"
    assert (answer["contacts_created"], answer["list_contacts_created"], answer["journeys_enrolled"]) == (1,
            1, 1)
    effects = sim.book("effect")
    assert [line["index"] for line in effects] == list(range(8))
    assert [line["applied"] for line in effects] == [True, True, False, False, False, False, False, True]
    assert sum(line["enrolled"] for line in effects) == sim.stats()["enrolments"] == 1
    assert [line["applied"] for line in sim.book("received", op="bulk")] == [False]


def test_bulk_refusals_and_limits(sim):
    post = lambda body: sim.request("POST", UPSERT + "/bulk", body)
    assert (post({}).status, post({}).code) == (400, "missing_contacts")
    assert post({"contacts": []}).code == "missing_contacts"
    assert post({"contacts": {}}).code == "missing_contacts"
    assert post({"contacts": [{}], "x": 1}).code == "invalid_field"
    many = [{"phone_number": f"+1212555{i:04d}", "list_number": LIST} for i in range(1001)]
    assert (post({"contacts": many}).status, post({"contacts": many}).code) == (413, "too_many_contacts")
    assert post({"contacts": many[:1000]}).json["contacts_created"] == 1000
    assert sim.stats()["contacts"] == 1000
    base = {"phone_number": PHONE, "list_number": LIST, "custom_fields": {"a": '\\"}]é'}}
    raw = json.dumps({"contacts": [base, base]}, ensure_ascii=False)
    short = len(json.dumps(base, ensure_ascii=False).encode())
    padded = raw.replace('{"phone', "{" + " " * (4000 - short) + '"phone', 1)
    assert post(padded.encode()).json["error_count"] == 0
    assert post(padded.replace('{ ', '{  ', 1).encode()).json["errors"][0]["code"] == "payload_too_large"
