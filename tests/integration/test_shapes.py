"""Payload shapes: every profile from its bytes on a topic to the request and the ledger, with the samples that are
handed out; the user's own mapping with every transform; and what becomes of bytes that are not what the topic should
carry."""
import base64
import json
import re
import urllib.parse

import pytest

from signups import (REPOSITORY, SENT_AT, SENT_AT_MS, bodies_by_id, event, letters, phone, text_headers, wait_settled,
                     warning_texts)

pytestmark = pytest.mark.sanitized

SAMPLES = REPOSITORY / "deploy" / "samples" / "shapes"
LIST = "+18005550100"  # of the samples and of their configuration
PROFILES = ["api", "json", "cloudevents", "confluent_json", "meta_lead_ads", "google_lead_form", "tiktok_lead", "form"]

@pytest.fixture
def shapes(more_topics):
    """One topic of each profile, {profile: topic}."""
    return more_topics(*PROFILES)


@pytest.fixture
def reader(workers, shapes, book_sim, api):
    """reader(mapping={profile: ...}): a worker that reads all of these topics."""
    def start(mapping=None, **changes):
        by_topic = {shapes[profile].name: {"profile": profile} for profile in PROFILES if profile != "api"}
        by_topic |= {shapes[profile].name: shape for profile, shape in (mapping or {}).items()}
        return workers(kafka={"topics": [topic.name for topic in shapes.values()]}, mapping=by_topic,
                       defaults={"list_number": LIST}, **api(book_sim), **changes)
    return start


def sample(name):
    return (SAMPLES / name).read_bytes()


def upsert(phone_number, **fields):
    """The request that an event is to become."""
    made = {"phone_number": phone_number, "list_number": LIST, "use_journeys": True, "skip_journey_if_exists": True,
            "override_custom_fields": False, "use_validation": False}
    return made | fields


# File, topic, and what is to be seen: the event's id, the request, and columns of the ledger.
SEEN = [
    ("api.json", "signups", "lp-2026-05-30-000184",
     upsert("+14155550132", signup_date="2026-05-31T00:42:08Z", ip_address="203.0.113.41",
            url="https://offers.example.com/ca/summer?utm_source=newsletter", ad_network_source="newsletter",
            custom_fields={"first_name": "Marisol", "last_name": "Okafor", "city": "Oakland"}),
     {"attribution": {"utm_source": "newsletter"}, "schema_id": None,
      "consent": {"text": "By pressing Sign up I agree to receive recurring marketing texts from Example Surf Co.",
                  "text_version": "2026-04", "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X)"}}),
    ("json.json", "partner", "summer-popup-90417",
     upsert("+15035550148", signup_date="2026-05-30T21:07:55Z", ip_address="198.51.100.77",
            url="https://www.example.com/popup?ref=42", ad_network_source="facebook", ad_network_id="120214889",
            custom_fields={"first_name": "Teodora Anne", "last_name": "Lindqvist", "email": "teodora@example.com",
                           "favorite_board": "longboard", "visits": 3, "newsletter": False}),
     {"consent": {"text": "Text me offers. Msg & data rates may apply.", "text_version": "v7"}}),
    ("cloudevents.json", "clicks", "https://forms.example.com/landing/spring|5f1c2a9e-77d0-4a53-9a52-0e4c1f3b2a10",
     upsert("+12125550119", signup_date="2026-05-30T18:20:11Z", ip_address="2001:db8:44::1f",
            url="https://www.example.com/spring?gclid=EAIaIQobChMI_sample", ad_network_source="adwords",
            custom_fields={"first_name": "Ines", "last_name": "Baptiste",
                           "form": "https://forms.example.com/landing/spring"}),
     {"attribution": {"gclid": "EAIaIQobChMI_sample"},
      "consent": {"text": "I agree to receive marketing texts.", "text_version": "3"}}),
    ("cloudevents_binary.json", "clicks", "/forms/autumn|A234-1234-1234",
     upsert("+16465550177", signup_date="2026-05-29T07:15:00Z", url="https://www.example.com/autumn",
            custom_fields={"first_name": "Kwame", "last_name": "Adeyemi-Ross", "form": "/forms/autumn"}),
     {"consent": None, "attribution": None}),
    ("confluent_json.bin", "registry", "lp-2026-05-30-000185",
     upsert("+14155550133", signup_date="2026-05-31T00:42:08Z", ip_address="203.0.113.41",
            url="https://offers.example.com/ca/summer?utm_source=newsletter", ad_network_source="newsletter",
            custom_fields={"first_name": "Marisol", "last_name": "Okafor", "city": "Oakland"}), {"schema_id": 391}),
    ("meta_lead_ads.json", "meta", "meta:1203948576012345",
     upsert("+16195550164", signup_date="2026-05-30T16:03:27Z", ad_network_source="facebook",
            ad_network_id="23861234567890001",
            custom_fields={"full_name": "Dana Whitfield", "first_name": "Dana", "email": "dana.whitfield@example.com",
                           "city": "San Diego", "state": "CA", "which_days_suit_you?": "saturday, sunday"}),
     {"attribution": {"lead_id": "1203948576012345", "ad_id": "23861234567890456", "ad_name": "Surf lessons, video 2",
                      "adset_id": "23861234567890123", "adset_name": "CA 25-44", "campaign_id": "23861234567890001",
                      "campaign_name": "Summer lessons", "form_id": "987654321098765", "platform": "ig",
                      "is_organic": False},
      "consent": {"custom_disclaimer_responses": [{"checkbox_key": "marketing_texts", "is_checked": "1"}]}}),
    ("google_lead_form.json", "google", "google:TmV3TGVhZC1zYW1wbGUtMDAwMQ",
     upsert("+13035550190", signup_date="2026-05-30T19:30:45Z", ad_network_source="adwords", ad_network_id="20000000001",
            custom_fields={"full_name": "Priya Raman", "email": "priya.raman@example.com", "postal_code": "80202",
                           "city": "Denver", "What is your preferred shop?": "Downtown"}),
     {"attribution": {"lead_id": "TmV3TGVhZC1zYW1wbGUtMDAwMQ", "form_id": 40000000001, "campaign_id": 20000000001,
                      "adgroup_id": 20000000002, "creative_id": 20000000003, "gclid": "EAIaIQobChMIsample-gclid_BwE",
                      "lead_stage": "LEAD_STAGE_UNSPECIFIED"}}),
    ("tiktok_lead.json", "tiktok", "tiktok:7306789012345678901",
     upsert("+13105550155", signup_date="2026-05-30T19:00:00Z", ad_network_source="tiktok", ad_network_id="1789012345678901",
            custom_fields={"name": "Noor Haddad", "email": "noor.haddad@example.com", "city": "Long Beach",
                           "How often do you surf?": "Every week"}),
     {"attribution": {"lead_id": 7306789012345678901, "form_id": 7301122334455667788, "form_name": "Spring wax club",
                      "advertiser_id": 6900112233445566778, "campaign_id": 1789012345678901, "campaign_name": "Spring 2026",
                      "adgroup_id": 1789012345678902, "adgroup_name": "West coast", "ad_id": 1789012345678903,
                      "ad_name": "Wax 15s", "lead_source": "INSTANT_FORM"}}),
    ("form.txt", "forms", "wf-77120",
     upsert("+12065550183", signup_date=SENT_AT, ip_address="192.0.2.66",
            url="https://www.example.com/club?fbclid=IwAR0sample", ad_network_source="facebook",
            custom_fields={"first_name": "Zoë", "last_name": "Park"}),
     {"attribution": {"fbclid": "IwAR0sample"}, "consent": {"text": "I agree to receive texts.", "text_version": "12"}}),
]
# Samples that are no signups, and the file that holds another one's headers.
OTHERS = {"google_lead_form_test.json": ("google", "test_lead", "test lead"),
          "meta_lead_ads_webhook.json": ("meta", "malformed_payload", "webhook")}
HEADERS = "cloudevents_binary.headers"
CONFIGURATION = "shapes.yaml"


@pytest.fixture
def samples(more_topics, workers, book_sim, api):
    """The topics of the samples' own configuration, {its name: topic}, and a worker that reads them as it says."""
    text = sample(CONFIGURATION).decode()
    named = re.search(r"^  topics: \[(.*)\]$", text, re.MULTILINE)[1].split(", ")
    made = more_topics(*named)
    worker = workers(start=False, kafka={"topics": [topic.name for topic in made.values()]}, defaults={"list_number": LIST},
                     **api(book_sim))
    mapping = re.sub(r"^  (\w+):", lambda entry: f"  {made[entry[1]].name}:", text[text.index("\nmapping:\n"):],
                     flags=re.MULTILINE)
    assert all(f"\n  {topic.name}:\n" in mapping for name, topic in made.items() if name != "signups")
    with open(worker.config_path, "a", encoding="utf-8") as file:
        file.write(mapping)
    worker.start()
    return made


def test_the_samples_of_every_profile(samples, topics, ledger, book_sim):
    """Each sample of deploy/samples/shapes, read with the configuration beside it, becomes exactly the request and
    the row that one reads out of it: identity, consent, attribution, schema id; those that are no signups are dead
    and say what they are."""
    assert {name for name, *_ in SEEN} | set(OTHERS) | {HEADERS, CONFIGURATION} == {path.name for path in SAMPLES.iterdir()}
    headers = [(name, value.encode()) for name, _, value in
               (line.partition("=") for line in sample(HEADERS).decode().splitlines() if line)]
    for name, topic, *_ in SEEN:
        value = sample(name)
        if name == "confluent_json.bin":  # the api sample's twin, and this is to be somebody else
            value = value.replace(b"000184", b"000185").replace(b"0132", b"0133")
        samples[topic].produce([value], headers=headers if name == "cloudevents_binary.json" else None,
                               timestamp_ms=SENT_AT_MS)
    for name, (topic, *_) in OTHERS.items():
        samples[topic].produce([sample(name)])
    ledger.wait_states(accepted=len(SEEN), dead=len(OTHERS))
    sent = bodies_by_id(book_sim, ledger)
    for name, topic, event_id, body, columns in SEEN:
        topics.source.log_check.add_phone(body["phone_number"])
        row = ledger.row(event_id)
        assert row and row["topic"] == samples[topic].name, (name, sorted(sent))
        assert sent[event_id] == row["request"] == body, name
        assert {column: row[column] for column in columns} == columns, name
        assert (row["ad_network_source"], row["ad_network_id"]) == (body.get("ad_network_source"), body.get("ad_network_id"))
        warned = warning_texts(ledger, event_id)
        if name == "json.json":
            assert "cart" in warned.pop("field_dropped"), warned
        assert warned == {}, name
    kept = ledger.query("SELECT e::text AS text FROM {schema}.event e WHERE state = 'accepted'")
    assert not any("secret" in row["text"] for row in kept), "the webhook's key was kept"
    for name, (topic, code, words) in OTHERS.items():
        [row] = ledger.rows("topic = %s AND state = 'dead'", (samples[topic].name,))
        assert row["code"] == code and words in row["error"] and bytes(row["payload"]) == sample(name)
    letters(topics.dead_letter, len(OTHERS))
    for topic in samples.values():
        wait_settled(topic, topics.group)


EVERYTHING = {
    "fields": {
        "phone_number": {"first_of": ["/contact/mobile", "/contact/landline", {"constant": "+13125550100"}]},
        "list_number": {"constant": LIST},
        "event_id": {"join": ["/form~1name", "/ids/0", {"header": "x-shard"}], "with": ":"},
        "use_journeys": {"constant": False},
        "skip_journey_if_exists": "/skip",
        "ad_network_source": {"lowercase": {"first_of": ["/utm/source", "/src", {"constant": "Direct"}]}},
        "custom_fields.first_name": {"split_name": "/name", "part": "first"},
        "custom_fields.last_name": {"split_name": "/name", "part": "last"},
        "custom_fields.full": {"join": [{"split_name": "/name", "part": "last"},
                                        {"lowercase": {"split_name": "/name", "part": "first"}}]},
        "custom_fields.score": {"constant": 7.25},
        "custom_fields.tilde": "/a~0b",
        "consent.text": "/legal/text",
        "consent.shown": "/legal/shown",
        "attribution.gclid": {"header": "x-gclid"},
    },
}


def shop_event(number, **fields):
    return {"contact": {"mobile": "", "landline": phone(number)}, "form/name": "shop", "ids": [number, 99], "skip": "no",
            "name": "Ana  Lucía de la Cruz", "a~b": "~", "legal": {"text": "I agree", "shown": True}, "src": "FaceBook",
            "color": "blue", "size": 42, "vip": True, "nothing": None, "deep": {"x": 1}, "list": [1], **fields}


@pytest.mark.parametrize("unmapped", ["ignore", "custom_fields"])
def test_a_mapping_with_every_transform(shapes, topics, ledger, reader, book_sim, unmapped):
    """Pointers (with ~0, ~1 and places of lists), constants, headers, join, split_name, lowercase and first_of,
    nested; what nothing reads is left, or becomes custom fields but for what is nested, which is named in a warning.
    On a topic of the api profile the mapping beats what the event names itself."""
    as_lead = {"profile": "api", "unmapped": unmapped,
               "fields": {"list_number": {"constant": LIST}, "custom_fields.source": {"constant": "mapped"}}}
    reader({"json": {**EVERYTHING, "unmapped": unmapped}, "api": as_lead})
    shapes["json"].produce([shop_event(1)], headers=[("x-gclid", b"abc"), ("x-shard", b"s7")], timestamp_ms=SENT_AT_MS)
    shapes["json"].produce([shop_event(2, name="Cher", src=" ", utm={"source": "TikTok"}, skip=True),
                            shop_event(3, contact={}, src=None)], timestamp_ms=SENT_AT_MS)
    shapes["api"].produce([event(4, list_number="+18335550111", custom_fields={"source": "own", "a": 1}, extra="x")],
                          timestamp_ms=SENT_AT_MS)
    ledger.wait_states(accepted=4)
    sent = bodies_by_id(book_sim, ledger)
    rest = {"color": "blue", "size": 42, "vip": True} if unmapped == "custom_fields" else {}
    assert sent["shop:1:s7"] == upsert(
        phone(1), use_journeys=False, skip_journey_if_exists=False, ad_network_source="facebook", signup_date=SENT_AT,
        custom_fields={"first_name": "Ana Lucía de la", "last_name": "Cruz", "full": "Cruz ana lucía de la", "score": 7.25,
                       "tilde": "~", **rest})
    assert sent["shop:2"] == upsert(
        phone(2), use_journeys=False, ad_network_source="tiktok", signup_date=SENT_AT,
        custom_fields={"first_name": "Cher", "full": "cher", "score": 7.25, "tilde": "~", **rest})
    assert sent["shop:3"]["phone_number"] == "+13125550100" and sent["shop:3"]["ad_network_source"] == "direct"
    assert sent["e-4"] == upsert(phone(4), signup_date=SENT_AT,
                                 custom_fields={"source": "mapped", "a": 1} | ({"extra": "x"} if rest else {}))
    row = ledger.row("shop:1:s7")
    assert row["consent"] == {"text": "I agree", "shown": True} and row["attribution"] == {"gclid": "abc"}
    warned = [text["message"] for text in ledger.query(
        "SELECT message FROM {schema}.warning WHERE event_id = 'shop:1:s7' AND code = 'field_dropped'")]
    if unmapped == "ignore":
        assert warned == []
    else:
        assert len(warned) == 2 and any("deep" in text for text in warned) and any("list" in text for text in warned)


def envelope(**changes):
    made = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": event(1, event_id=None), **changes}
    return json.dumps({name: value for name, value in made.items() if value is not None}).encode()


def frame(schema_id, value):
    return b"\x00" + schema_id.to_bytes(4, "big") + value


CE = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t")]
# Topic, value, code, what the message must say, headers.
BROKEN = [
    ("json", b"{\"phone\": \"" + phone(1).encode() + b"\"", "malformed_json", ""),
    ("json", b"[1]", "not_an_object", "a list"),
    ("json", b'{"unknown": "members"}', "missing_phone_number", "phone_number"),
    ("cloudevents", json.dumps(event(1)).encode(), "malformed_payload", "specversion"),
    ("cloudevents", envelope(specversion="0.3"), "malformed_payload", "version"),
    ("cloudevents", envelope(source=None), "malformed_payload", "no source"),
    ("cloudevents", envelope(data=None), "malformed_payload", "neither data"),
    ("cloudevents", envelope(data=None, data_base64="e30"), "malformed_payload", "base64"),
    ("cloudevents", envelope(datacontenttype="application/xml", data="<a/>"), "malformed_payload", "content type"),
    ("cloudevents", b"<signup/>", "malformed_payload", "content type", [*CE, ("content-type", b"text/xml")]),
    ("cloudevents", b"[]", "malformed_payload", "batch", [("content-type", b"application/cloudevents-batch+json")]),
    ("confluent_json", json.dumps(event(1)).encode(), "malformed_payload", "magic byte"),
    ("confluent_json", frame(7, b"")[:4], "malformed_payload", "ends at byte 4"),
    ("confluent_json", frame(7, b"\x00{}"), "malformed_json", ""),
    ("confluent_json", frame(2 ** 32 - 1, b"{}"), "malformed_payload", "schema id"),
    ("meta_lead_ads", b'{"data": []}', "malformed_payload", "page of leads"),
    ("meta_lead_ads", json.dumps({"id": "1", "field_data": [{"name": "email", "values": ["a@example.com"]}]}).encode(),
     "missing_phone_number", "phone"),
    ("google_lead_form", json.dumps(event(1)).encode(), "malformed_payload", "user_column_data"),
    ("google_lead_form", b'{"user_column_data": []}', "malformed_payload", "lead_id"),
    ("tiktok_lead", b'{"object": 2, "entry": [{"changes": []}]}', "malformed_payload", "not about a lead"),
    ("tiktok_lead", json.dumps({"entry": [{"id": 1, "changes": []}, {"id": 2, "changes": []}]}).encode(),
     "malformed_payload", "2 leads"),
    ("form", json.dumps(event(1)).encode(), "malformed_payload", "JSON"),
    ("form", b"phone=%2B1312200000%ZZ", "malformed_payload", "hexadecimal"),
    ("form", b"phone=%FF%FE", "malformed_payload", "UTF-8"),
    ("form", b"just words", "malformed_payload", "name=value"),
    ("form", b"--x\r\nContent-Disposition: form-data; name=\"phone\"\r\n\r\n1", "malformed_payload", "multipart"),
]


def test_bytes_that_are_something_else(shapes, topics, ledger, reader, book_sim):
    """What is not of the topic's profile is dead at once, with a message that says what was expected, and a letter
    that has the original bytes and headers; good events behind it on the same topic flow."""
    reader({"json": {"fields": {"phone_number": "/contact/phone"}}})
    topics.source.log_check.add_phone(phone(1))
    expected = {}
    for profile, value, code, words, *headers in BROKEN:
        [(partition, offset)] = shapes[profile].produce([value], headers=headers[0] if headers else None)
        expected[shapes[profile].name, partition, offset] = (value, code, words, headers[0] if headers else [])
    good = [("api", json.dumps(event(10)).encode(), None),
            ("form", urllib.parse.urlencode(event(11)).encode(), None),
            ("confluent_json", frame(2 ** 31 - 1, json.dumps(event(12)).encode()), None),
            ("cloudevents", envelope(data=event(13)), None),
            ("cloudevents", envelope(data=None, data_base64=base64.b64encode(json.dumps(event(14)).encode()).decode()),
             [("content-type", b"application/cloudevents+json; charset=utf-8")]),
            ("cloudevents", json.dumps(event(15)).encode(), CE)]
    for profile, value, headers in good:
        shapes[profile].produce([value], headers=headers)
    ledger.wait_states(accepted=len(good), dead=len(BROKEN))
    found = letters(topics.dead_letter, len(BROKEN))
    for position, (value, code, words, headers) in expected.items():
        [row] = ledger.rows('topic = %s AND "partition" = %s AND "offset" = %s', position)
        assert (row["state"], row["code"], row["attempts"]) == ("dead", code, 0), (value, row)
        assert row["event_id"] == ("meta:1" if code == "missing_phone_number" and b"field_data" in value
                                   else ":".join(map(str, position)))
        assert words in row["error"] and row["error"][0].isupper() and row["error"].endswith("."), (value, row["error"])
        assert phone(1)[2:] not in row["error"]
        letter = found[row["event_id"]]
        assert letter.value == value and letter.headers[:len(headers)] == headers
        said = text_headers(letter)
        assert (said["signup.error.code"], said["signup.error.message"]) == (code, row["error"])
    assert ledger.row("e-12")["schema_id"] == 2 ** 31 - 1
    assert {f"e-{number}" for number in range(10, 16)} == set(bodies_by_id(book_sim, ledger))
    for topic in shapes.values():
        wait_settled(topic, topics.group)
