"""Routes: which signup takes which, what a route chooses and what the event says itself, and how a list that the
account does not own is noticed."""
import pytest

from signups import (LIST, OTHER_LIST, assert_enrolled_once, bodies_by_id, by_list, calls, event, phone,
                     wait_settled)

pytestmark = pytest.mark.sanitized

TO = {name: f"+1833555013{number}" for number, name in enumerate(
    ["crm", "california", "ads", "canada", "britain", "must", "rest"])}
DEFAULT = "+18335550140"
TORONTO, LONDON = "+14162000001", "+442079460018"


def routes(crm_topic):
    return [
        {"name": "california", "when": {"url": ["*.example.com/ca/*", "https://ca.example.org/*"]},
         "list_number": TO["california"], "use_journeys": False, "custom_fields": {"state": "CA", "wave": 3}},
        {"name": "ads", "when": {"ad_network_source": ["facebook", "tiktok"], "country": ["US", "CA"]},
         "list_number": TO["ads"], "skip_journey_if_exists": False, "custom_fields": {"paid": True}},
        {"name": "crm", "when": {"topic": crm_topic}, "list_number": TO["crm"], "validation": "gate"},
        {"when": {"country": "CA"}, "list_number": TO["canada"]},
        {"when": {"country": "GB", "url": "*"}, "list_number": TO["britain"]},
        {"name": "must", "when": {"ad_network_source": "must"}, "list_number": TO["must"], "use_journeys": False,
         "custom_fields": {"plan": "routed", "extra": 1.5}, "override": True},
        {"name": "rest", "when": {"url": "rest.example.com/*"}, "list_number": TO["rest"]},
    ]


# What the event says, the list that it goes to, and what else the request has or has not.
CASES = [
    ({}, DEFAULT, {}),
    ({"url": "https://www.example.com/ca/page?x=/y/"}, TO["california"],
     {"use_journeys": False, "custom_fields": {"state": "CA", "wave": 3}}),
    ({"url": "https://www.example.com/ca"}, DEFAULT, {}),
    ({"url": "https://other.test/?next=www.example.com/ca/"}, DEFAULT, {}),
    ({"url": "https://ca.example.org/"}, TO["california"], {"use_journeys": False}),
    ({"url": "http://CA.example.org:80/x"}, TO["california"], {}),
    ({"url": "https://ca.example.org.evil.test/"}, DEFAULT, {}),
    # the first one that matches wins, whatever the later ones say
    ({"url": "https://a.example.com/ca/", "ad_network_source": "facebook"}, TO["california"],
     {"skip_journey_if_exists": True}),
    ({"ad_network_source": "FaceBook"}, TO["ads"], {"skip_journey_if_exists": False, "custom_fields": {"paid": True}}),
    # a derived ad network counts like one that was given
    ({"url": "https://shop.test/?ttclid=abc"}, TO["ads"], {"ad_network_source": "tiktok"}),
    ({"url": "https://shop.test/?fbclid=abc", "ad_network_source": "adwords"}, DEFAULT, {"ad_network_source": "adwords"}),
    ({"url": "https://shop.test/?utm_source=TikTok&utm_campaign=may"}, TO["ads"], {"ad_network_id": "may"}),
    # country of the phone
    ({"phone_number": TORONTO}, TO["canada"], {}),
    ({"phone_number": "(416) 200-0002"}, TO["canada"], {"phone_number": "+14162000002"}),
    ({"phone_number": "+1 416 200 0003", "ad_network_source": "tiktok"}, TO["ads"], {}),
    ({"phone_number": LONDON, "url": "https://x.test/"}, TO["britain"], {}),
    ({"phone_number": "+44 20 7946 0019"}, DEFAULT, {}),
    ({"phone_number": "+44 20 7946 0020", "ad_network_source": "facebook"}, DEFAULT, {}),
    ({"url": "https://rest.example.com/anything"}, TO["rest"], {}),
    # what the event says itself beats the route's choice, member by member of its custom fields
    ({"url": "https://a.example.com/ca/", "list_number": LIST, "use_journeys": True,
      "custom_fields": {"state": "own", "b": 1}},
     LIST, {"use_journeys": True, "custom_fields": {"state": "own", "b": 1, "wave": 3}}),
    # unless it overrides
    ({"ad_network_source": "must", "list_number": LIST, "use_journeys": True, "custom_fields": {"plan": "own", "b": 1}},
     TO["must"], {"use_journeys": False, "custom_fields": {"plan": "routed", "b": 1, "extra": 1.5}}),
]


def test_the_first_route_that_matches(topics, more_topics, ledger, workers, book_sim, api):
    """By topic, URL pattern, ad network, given or derived, and country of the phone; the first match wins; a route
    gives way to the event and overrides it where it says so; whoever matches none has the defaults."""
    crm = more_topics("crm")["crm"]
    workers(kafka={"topics": [topics.source.name, crm.name]}, routes=routes(crm.name), defaults={"list_number": DEFAULT},
            **api(book_sim))
    made = [event(number, **{"list_number": None, **fields}) for number, (fields, _, _) in enumerate(CASES)]
    topics.source.produce(made)
    crm.produce([event(500, list_number=None), event(501, list_number=None, ad_network_source="facebook"),
                 event(502, list_number=LIST)])
    ledger.wait_states(accepted=len(CASES) + 3)
    sent = bodies_by_id(book_sim, ledger)
    for number, (fields, to, more) in enumerate(CASES):
        body = sent[f"e-{number}"]
        assert body["list_number"] == to == ledger.row(f"e-{number}")["list_number"], (fields, body)
        assert more.items() <= body.items(), (fields, body)
        if "custom_fields" not in more and to == DEFAULT:
            assert "custom_fields" not in body
    assert [sent[f"e-{number}"]["list_number"] for number in (500, 501, 502)] == [TO["crm"], TO["ads"], LIST]
    assert {line["phone"] for line in book_sim.lookups()} == {phone(500), phone(502)}
    assert_enrolled_once(book_sim)
    wait_settled(topics.source, topics.group)
    wait_settled(crm, topics.group)


def test_a_list_that_the_account_does_not_own(topics, ledger, workers, sim):
    """list_not_found: the events are dead by the API's answer, the log names each such list once, not once per event,
    and /status and a metric count them; the others flow."""
    worker = workers()
    wrong = {OTHER_LIST: 12, TO["crm"]: 5}
    for number in wrong:
        sim.fault({"kind": "answer", "status": 400, "code": "list_not_found", "error": "No such sending list",
                   "apply": False}, op="upsert", list=number)
    bad = [to for to, count in wrong.items() for _ in range(count)]
    topics.source.produce([one for number, to in enumerate(bad)
                           for one in (event(number, list_number=to), event(100 + number))])  # or the fuse would blow
    ledger.wait_states(accepted=17, dead=17)
    assert {row["code"] for row in ledger.rows("state = 'dead'")} == {"list_not_found"}
    assert len(calls(sim)) == 34 and worker.is_ready() and worker.status()["counters"]["fuses"] == 0
    for number in wrong:
        [line] = [line for line in worker.log_text().splitlines() if number in line and "level=debug" not in line]
        assert "level=error" in line and "no sending list" in line
    assert by_list(worker.status()["list_not_found"]) == wrong
    assert {number: worker.metric("signup_list_not_found_total", list=number) for number in wrong} == wrong
    assert worker.metric("signup_list_not_found_total", list=LIST) is None
