"""Consent: what an event must bring, what is said of one that does not, and where the evidence is kept and sent."""
import pytest

from signups import (LIST, assert_enrolled_once, bodies, bodies_by_id, calls, event, letters, phone, wait_settled,
                     warning_texts)

pytestmark = pytest.mark.sanitized

TEXT = "I agree to receive recurring marketing texts. Reply STOP to end — “at any time”."
WHOLE = {"ip_address": "198.51.100.7", "url": "https://offers.example.com/l/7?utm_source=news",
         "signup_date": "2025-05-01T12:00:00Z", "ad_network_source": "taboola", "ad_network_id": "cmp-7",
         "consent": {"text": TEXT, "text_version": "2025-04", "user_agent": "Mozilla/5.0", "box": {"ticked": True}}}
REQUIRED = ["ip_address", "url", "signup_date", "ad_network_source", "ad_network_id", "text", "text_version", "user_agent"]


def without(*missing, **changes):
    """The fields of an event that brings everything but this."""
    fields = {name: value for name, value in WHOLE.items() if name not in missing}
    fields["consent"] = {name: value for name, value in WHOLE["consent"].items() if name not in missing}
    return {**fields, **changes}


# Name, fields, and what is missing.
CASES = [
    ("whole", WHOLE, []),
    *((name, without(name), [name]) for name in REQUIRED if not name.startswith("ad_network")),
    # What the URL says of the network counts, too: only an event whose URL says nothing lacks it.
    ("source", without("ad_network_source", url="https://offers.example.com/"), ["ad_network_source"]),
    ("derived", without("ad_network_source", "ad_network_id", url="https://offers.example.com/?gclid=x&utm_campaign=7"), []),
    ("blank", without(consent={**WHOLE["consent"], "text": "  ", "user_agent": ""}), ["text", "user_agent"]),
    ("null", without(consent={**WHOLE["consent"], "text": None}), ["text"]),
    ("unusable", without(ip_address="not an address", url="ftp://example.com/"), ["ip_address", "url"]),
    ("unreadable date", without(signup_date="some day"), ["signup_date"]),
    ("no consent", {name: value for name, value in WHOLE.items() if name != "consent"},
     ["text", "text_version", "user_agent"]),
    ("nothing", {}, REQUIRED),
]


@pytest.mark.parametrize("on_missing", ["dead", "warn"])
def test_what_an_event_must_bring(topics, ledger, workers, sim, on_missing):
    """Every part that consent.require names and an event lacks is named: in the death (missing_consent, without a
    call, with a letter), or in a warning where the configuration says to go on. What the event did bring is kept
    either way."""
    workers(consent={"require": REQUIRED, "on_missing": on_missing})
    topics.source.produce([event(number, event_id=name, **fields) for number, (name, fields, _) in enumerate(CASES)])
    lacking = [name for name, _, missing in CASES if missing]
    dead = len(lacking) if on_missing == "dead" else 0
    ledger.wait_states(**({"accepted": len(CASES) - dead} | ({"dead": dead} if dead else {})))
    by_id = letters(topics.dead_letter, dead) if dead else {}
    for number, (name, fields, missing) in enumerate(CASES):
        row = ledger.row(name)
        said = warning_texts(ledger, name)
        assert row["consent"] == fields.get("consent"), name
        if not missing:
            assert row["state"] == "accepted" and "missing_consent" not in said, (name, said)
            continue
        if on_missing == "warn":
            assert row["state"] == "accepted" and row["contact_id"], name
            text = said["missing_consent"]
        else:
            assert (row["state"], row["code"], row["error_class"]) == ("dead", "missing_consent", "rejected"), name
            assert row["http_status"] is None and not calls(sim, phone=phone(number))
            assert dict(by_id[name].headers)["signup.error.message"].decode() == row["error"]
            text = row["error"]
        named = text.split("asks for: ")[1].split(". Send")[0].split(", ")
        named = [part.removeprefix("consent.") for part in named]
        assert named == [part for part in REQUIRED if part in missing], (name, text)
    assert_enrolled_once(sim)
    wait_settled(topics.source, topics.group)


def test_evidence_as_custom_fields(topics, ledger, workers, book_sim, api):
    """consent.to_custom_fields sends chosen parts as custom fields, where the event has none of that name; the
    consent object itself stays in the ledger, whole, and the API is not told of it."""
    workers(consent={"to_custom_fields": {"text_version": "consent_version", "user_agent": "consent_agent",
                                          "ip_address": "consent_ip", "signup_date": "consent_at", "seen": "consent_seen"}},
            **api(book_sim))
    topics.source.produce([
        event(0, **WHOLE),
        event(1, **without(custom_fields={"consent_version": "the event's own", "plan": "gold"})),
        event(2, **without("user_agent", "ip_address", consent={"text": TEXT, "text_version": 7, "seen": True})),
        event(3, consent="I said yes"),
        event(4)])
    ledger.wait_states(accepted=5)
    sent = bodies_by_id(book_sim, ledger)
    ours = {"consent_agent": "Mozilla/5.0", "consent_ip": "198.51.100.7", "consent_at": "2025-05-01T12:00:00Z"}
    assert sent["e-0"]["custom_fields"] == {"consent_version": "2025-04", **ours}
    assert sent["e-1"]["custom_fields"] == {"consent_version": "the event's own", "plan": "gold", **ours}
    assert sent["e-2"]["custom_fields"] == {"consent_version": 7, "consent_seen": True, "consent_at": "2025-05-01T12:00:00Z"}
    assert "custom_fields" not in sent["e-3"] and "custom_fields" not in sent["e-4"]
    assert not any("consent" in body or TEXT in str(body) for some in bodies(book_sim).values() for body in some)
    for number in (0, 1):
        row = ledger.row(f"e-{number}")
        assert row["consent"] == WHOLE["consent"] and row["ip_address"] == WHOLE["ip_address"] and row["url"] == WHOLE["url"]
        assert row["list_number"] == LIST and warning_texts(ledger, f"e-{number}") == {}
    assert ledger.row("e-2")["consent"] == {"text": TEXT, "text_version": 7, "seen": True}
    assert ledger.row("e-4")["consent"] is None
