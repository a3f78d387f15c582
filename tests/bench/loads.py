"""What lies on a topic and how the worker is told to read it: the API's own body, the same signups in somebody else's
shape, and a gate for phones that are all known."""
import io
import json

import psycopg2

LIST = "+18335550100"
TIER = "pro" # a custom field that only a route gives
VALIDATION = json.dumps({"valid": True, "line_type": "mobile", "carrier": "Verizon Wireless", "ported": False, "country": "US",
                         "on_dnc": False, "disposition": "ok", "cost": 0.003, "cached": False})


class Load:
    """The generator's events as they are, read with the defaults."""

    name = "api"

    def __init__(self, topic=None):
        self.topic = topic

    def write(self, events, file):
        """The records of these events for kafka-tool --records; never asked for of the plain ones, which it
        generates."""
        raise NotImplementedError

    def configuration(self):
        """What the worker's configuration says besides."""
        return {}

    def prepare(self, ledger, phones):
        """The ledger before the worker starts; `phones` gives the phone of every event."""

    def expected(self, ledger, stats, counters, events):
        """{what: (is, should be)} beyond what holds for every load."""
        return {}


class Mapped(Load):
    """The same signups as a form's JSON: ten assignments, five routes of which the last holds, the ad network from
    the page's URL, consent required, a part of it sent as a custom field."""

    name = "mapped"

    def write(self, events, file):
        for event in events:
            shaped = {
                "form": event["event_id"].rpartition("-")[0],
                "submission": {"id": int(event["event_id"].rpartition("-")[2]), "at": event["signup_date"]},
                "contact": {"name": event["custom_fields"]["first_name"] + " Lovelace", "phone": event["phone_number"]},
                "page": {"href": f"{event['url']}?utm_source={event['ad_network_source']}&utm_id={event['ad_network_id']}",
                         "ip": event["ip_address"]},
                "journeys": event["use_journeys"], "seq": event["custom_fields"]["seq"],
                "legal": {"text": event["consent"]["text"], "version": event["consent"]["text_version"]},
            }
            record = {"key": event["phone_number"], "value": json.dumps(shaped, separators=(",", ":"))}
            file.write(json.dumps(record) + "\n")

    def configuration(self):
        return {
            "mapping": {self.topic.name: {"profile": "json", "fields": {
                "event_id": {"join": ["/form", "/submission/id"], "with": "-"},
                "phone_number": "/contact/phone",
                "use_journeys": "/journeys",
                "signup_date": "/submission/at",
                "url": "/page/href",
                "ip_address": "/page/ip",
                "custom_fields.first_name": {"split_name": "/contact/name", "part": "first"},
                "custom_fields.seq": "/seq",
                "consent.text": "/legal/text",
                "consent.text_version": "/legal/version",
            }}},
            "routes": [
                {"when": {"url": ["*.example.org/*", "*/vip/*"]}, "list_number": "+18335550101"},
                {"when": {"ad_network_source": ["linkedin", "snapchat", "taboola-news"]}, "list_number": "+18335550102"},
                {"when": {"country": ["CA", "GB"]}, "list_number": "+18335550103"},
                {"when": {"topic": self.topic.name, "url": "shop.example.com/*"}, "list_number": "+18335550104"},
                {"when": {"url": "offers.example.com/l/*", "country": "US"}, "list_number": LIST,
                 "custom_fields": {"tier": TIER}},
            ],
            "consent": {"require": ["ip_address", "url", "signup_date", "text"],
                        "to_custom_fields": {"text_version": "consent_version"}},
        }

    def expected(self, ledger, stats, counters, events):
        row = ledger.query(
            "SELECT count(*) FILTER (WHERE attribution->>'utm_source' = ad_network_source"
            " AND attribution->>'utm_id' = ad_network_id) AS attributed,"
            " count(*) FILTER (WHERE list_number = %s AND request->'custom_fields'->>'tier' = %s) AS routed,"
            " count(*) FILTER (WHERE request->'custom_fields'->>'consent_version' = consent->>'text_version') AS consented"
            " FROM {schema}.event", (LIST, TIER))[0]
        return {"rows with an ad network from the URL": (row["attributed"], events),
                "rows that took the fifth route": (row["routed"], events),
                "requests with a part of the consent": (row["consented"], events)}


class Gated(Load):
    """The plain events, each looked up before its upsert, in a ledger that knows all of their phones."""

    name = "gate"

    def configuration(self):
        return {"validation": {"mode": "gate"}}

    def prepare(self, ledger, phones):
        text = VALIDATION.replace("\\", "\\\\")
        rows = io.StringIO("".join(f"{phone}\t{text}\n" for phone in phones()))
        connection = psycopg2.connect(ledger.dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.copy_expert(f"COPY {ledger.schema}.phone_validation (phone_number, validation) FROM STDIN", rows)
                cursor.execute(f"ANALYZE {ledger.schema}.phone_validation")
        finally:
            connection.close()

    def expected(self, ledger, stats, counters, events):
        row = ledger.query("SELECT count(*) FILTER (WHERE validation->>'disposition' = 'ok') AS judged FROM {schema}.event")[0]
        return {"calls of the validation host": (stats["calls"]["validate"]["received"], 0),
                "lookups paid": (stats["lookups_paid"], 0),
                "events judged by memory": (counters["validations_known"], events),
                "rows with a validation": (row["judged"], events)}
