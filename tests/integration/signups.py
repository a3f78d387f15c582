"""Signup events for tests, and the questions that most tests ask of the servers afterwards."""
import json
import os
import pathlib
import signal

from signup_harness import wait_until

LIST = "+18335550100"
OTHER_LIST = "+18335550199"
SENT_AT_MS = 1746115200123  # 2025-05-01T16:00:00.123Z, the time of records whose events say nothing of theirs
SENT_AT = "2025-05-01T16:00:00Z"
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
TABLES = {"event": "event_id", "warning": "event_id, source, code, message", "attempt": "event_id, attempt, at",
          "phone_validation": "phone_number"}

# What the simulator's lookups find out about a phone goes by its last four digits (contacts-sim --help): event(10_000 * n
# + VOIP) is that of one more VoIP line.
LANDLINE, VOIP, DO_NOT_CALL, NOT_IN_USE, UNDETERMINED, PROVIDER_AWAY, REJECTED_VOIP = range(9001, 9008)
PRICE_USD = 0.003  # of a lookup that is not cached


def phone(number):
    """A possible US number of its own for every number below 1,000,000."""
    return f"+1312{2000000 + number}"


def event(number, **fields):
    """An ordinary event of contact `number`; fields that are None are left out."""
    made = {"event_id": f"e-{number}", "phone_number": phone(number), "list_number": LIST}
    made.update(fields)
    return {name: value for name, value in made.items() if value is not None}


def request(number, **fields):
    """What the API must be told of event(number), where the event says nothing special."""
    made = {"phone_number": phone(number), "list_number": LIST, "use_journeys": True, "skip_journey_if_exists": True,
            "override_custom_fields": False, "use_validation": False, "signup_date": SENT_AT}
    made.update(fields)
    return {name: value for name, value in made.items() if value is not None}


def by_list(told):
    """{list number: count} of a table of /status by sending list; what it could not name must be nothing."""
    assert told["other"] == 0 and told["total"] == sum(entry["count"] for entry in told["lists"]), told
    return {entry["list_number"]: entry["count"] for entry in told["lists"]}


def wait_settled(topic, group, timeout=60):
    """Until everything on the topic is committed; then nothing may be committed beyond its end."""
    topic.wait_drained(group, timeout)
    for partition, entry in topic.offsets(group).items():
        assert entry["high"] == 0 or entry["committed"] == entry["high"], (partition, entry)


def dump(ledger):
    """Every row of every table, comparable."""
    tables = {}
    for table, order in TABLES.items():
        rows = ledger.query(f"SELECT * FROM {{schema}}.{table} ORDER BY {order}")
        tables[table] = [{name: bytes(value) if isinstance(value, memoryview) else value
                          for name, value in row.items()} for row in rows]
    return tables


def calls(sim, **wanted):
    """Upserts that the simulator received, in order."""
    return sim.book("received", op="upsert", **wanted)


def bodies(sim):
    """{phone: [bodies]} that the simulator received, in order; it must keep bodies."""
    found = {}
    for line in calls(sim):
        body = json.loads(line["body"])
        found.setdefault(body["phone_number"], []).append(body)
    return found


def bodies_by_id(sim, ledger):
    """{event id: the last body that was sent for it}, of events whose phones differ."""
    sent = bodies(sim)
    return {row["event_id"]: sent[row["phone_number"]][-1] for row in ledger.rows() if row["phone_number"] in sent}


def warning_texts(ledger, event_id):
    """{code: message} of an event; several of one code are joined."""
    texts = {}
    for row in ledger.query("SELECT code, message FROM {schema}.warning WHERE event_id = %s ORDER BY message", (event_id,)):
        texts[row["code"]] = "; ".join(filter(None, [texts.get(row["code"]), row["message"]]))
    return texts


def make_due(ledger, *names):
    """What is parked is due now, all or these events. Rows are locked in the order in which workers lock them."""
    ledger.query("WITH parked AS (SELECT event_id FROM {schema}.event WHERE state = 'parked'"
                 " AND (%s = '{}' OR event_id = ANY (%s)) ORDER BY event_id FOR UPDATE)"
                 " UPDATE {schema}.event e SET due_at = now() FROM parked p WHERE e.event_id = p.event_id AND e.state = 'parked'",
                 (list(names), list(names)))


def text_headers(record):
    """{name: text} of a record's headers; a name may stand there once only."""
    names = [name for name, _ in record.headers]
    assert len(names) == len(set(names)), names
    return {name: value.decode() for name, value in record.headers}


def letters(topic, count, timeout=30):
    """{event id: dead letter} once there are `count` of them."""
    def found():
        records = topic.consume()
        return records if len(records) >= count else None
    records = wait_until(found, timeout, lambda: f"{count} dead letters, but {len(topic.consume())}", interval=0.1)
    by_id = {dict(record.headers)["signup.event_id"].decode(): record for record in records}
    assert len(by_id) == len(records) == count, sorted(by_id)
    return by_id


def wait_letters_marked(ledger, timeout=30):
    """Until no dead row waits for its letter. A row that is reopened before that needs none: who counts letters waits first."""
    wait_until(lambda: not ledger.rows("state = 'dead' AND dead_letter_published_at IS NULL"), timeout, "letters that are marked")


def assert_one_final_row_each(ledger, ids):
    """Every id has one row and it is final; nobody else has one."""
    states = {row["event_id"]: row["state"] for row in ledger.query("SELECT event_id, state FROM {schema}.event")}
    missing = set(ids) - set(states)
    assert not missing, f"{len(missing)} events without a row, e.g. {sorted(missing)[:5]}"
    extra = set(states) - set(ids)
    assert not extra, f"rows that nobody asked for: {sorted(extra)[:5]}"
    open_rows = {name: state for name, state in states.items() if state not in ("accepted", "dead")}
    assert not open_rows, f"{len(open_rows)} rows are not final, e.g. {sorted(open_rows.items())[:5]}"


def assert_enrolled_once(sim):
    """By the simulator's own book nobody was enrolled twice."""
    enrolled = {}
    for line in sim.effects():
        contact = line["phone"], line["list"]
        enrolled[contact] = enrolled.get(contact, 0) + line["enrolled"]
    twice = {contact: count for contact, count in enrolled.items() if count > 1}
    assert not twice, f"{len(twice)} contacts enrolled more than once: {sorted(twice.items())[:5]}"


def assert_never_two_at_once(sim):
    """By the simulator's own book no contact ever had two calls under way."""
    overlaps = [line for line in calls(sim) if line["overlap"]]
    assert not overlaps, f"{len(overlaps)} calls while another of the contact was under way: {overlaps[:2]}"


def family(postmaster):
    """The postmaster and its processes."""
    found = [postmaster]
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == postmaster:
            found.append(int(stat.parent.name))
    return found


class Suspended:
    """SIGSTOP for these processes, SIGCONT at the end whatever happens."""

    def __init__(self, *pids):
        self.pids = pids

    def __enter__(self):
        for pid in self.pids:
            self._signal(pid, signal.SIGSTOP)

    def __exit__(self, *_):
        for pid in reversed(self.pids):
            self._signal(pid, signal.SIGCONT)

    @staticmethod
    def _signal(pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # a backend of a client that has just left
