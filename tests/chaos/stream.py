"""The steady flow of events that the chaos runs against, and the memory of all that was produced."""
import collections
import json
import threading
import time

import confluent_kafka

from signups import event

Produced = collections.namedtuple("Produced", "event_id kind contact seq at")
Produced.__doc__ = """One event: `contact` is its phone, None where it has none; `seq` its number among the contact's, None for a
contact that comes once; `at` the wall clock's seconds when it was handed to Kafka."""

# What becomes of a kind in the end: the code of its death, None where it is accepted.
FATES = {"again": None, "single": None, "validated": None, "gated": None, "bad": "invalid_phone", "refused": "not_sendable",
         "barred": "validation_refused"}
GATED = {"name": "gated", "when": {"ad_network_source": "gated"}, "validation": "gate"}  # the route of "gated" and "barred"
CONTACTS_OF_THEIR_OWN = 500000  # the numbers of contacts that come once; returning ones are below
TEXT_FIELD, SEQ_FIELD = "chaos_id", "seq"


def phone_of(number):
    """A possible number; none of those that the simulator's lookups treat in a special way."""
    return f"+1312{2000000 + number // 9000 * 10000 + number % 9000:07d}"


def special_phone(number, digits):
    """One of the numbers that the simulator's lookups treat in a special way (contacts-sim --help)."""
    number -= CONTACTS_OF_THEIR_OWN
    return f"+1{213 + number // 700:03d}{200 + number % 700:03d}{digits}"


class Mix:
    """Makes events by the dice: half of them contacts that return, numbered; contacts that come once and ask to be
    enrolled whatever was before, so that a resend that is not guarded shows; some that are validated; some that are bad
    by our rules, and some that the API refuses. Only where asked for: some whose phone is looked up before, and some that
    are not called for after that."""

    def __init__(self, dice, returning=400, shares=None):
        self.dice, self.returning = dice, returning
        shares = shares or {"again": 50, "single": 34, "validated": 8, "bad": 4, "refused": 4}
        self.kinds, self.weights = list(shares), list(shares.values())
        self.next_seq, self.singles = collections.Counter(), CONTACTS_OF_THEIR_OWN

    def make(self):
        """(event, Produced) of a new event; its time is not set."""
        kind = self.dice.choices(self.kinds, self.weights)[0]
        if kind == "again":
            number = self.dice.randrange(self.returning)
            seq = self.next_seq[number]
            self.next_seq[number] += 1
            name = f"again-{number}-{seq}"
            fields = {SEQ_FIELD: seq}
        else:
            number, seq, fields = self.singles, None, {}
            self.singles += 1
            name = f"{kind}-{number}"
        contact = {"bad": None, "refused": special_phone(number, 9007), "barred": special_phone(number, 9001)}.get(
            kind, phone_of(number))
        made = event(number, event_id=name, phone_number=contact or "12", custom_fields={TEXT_FIELD: name, **fields},
                     skip_journey_if_exists=False if kind == "single" else None,
                     use_validation=True if kind in ("validated", "refused") else None,
                     ad_network_source="gated" if kind in ("gated", "barred") else None)
        return made, Produced(name, kind, contact, seq, 0.0)


class Stream:
    """Publishes what the mix makes at a pace, in a thread of its own, until told to stop; now and then an event twice.
    `produced` and `positions` are complete once stop() has returned."""

    def __init__(self, topic, mix, rate, duplicates=0.01, limit=None):
        self.topic, self.mix, self.rate, self.duplicates, self.limit = topic, mix, rate, duplicates, limit
        self.produced, self.positions, self.failures = {}, {}, []  # positions: {(partition, offset): event id}
        self.recent = collections.deque(maxlen=200)
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": topic.broker.bootstrap, "acks": "all", "linger.ms": 5, "enable.idempotence": True,
            "partitioner": "murmur2_random", "delivery.timeout.ms": 300000, "queue.buffering.max.messages": 1000000})
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()
        return self

    @property
    def count(self):
        return len(self.produced)

    def stop(self):
        self.ended.set()
        self.thread.join(60)
        left = self.producer.flush(120)
        assert left == 0 and not self.failures, f"{left} events unanswered, failed: {self.failures[:3]}"

    def _run(self):
        began, sent = time.monotonic(), 0
        while not self.ended.is_set() and (self.limit is None or self.count < self.limit):
            due = int((time.monotonic() - began) * self.rate)
            while sent < due and (self.limit is None or self.count < self.limit):
                self._one()
                sent += 1
            self.producer.poll(0)
            self.ended.wait(0.01)

    def _one(self):
        if self.recent and self.mix.dice.random() < self.duplicates:
            made = self.mix.dice.choice(self.recent)
        else:
            made, told = self.mix.make()
            self.produced[told.event_id] = told._replace(at=time.time())
            self.recent.append(made)
            if self.topic.log_check is not None:
                self.topic.log_check.add_phone(told.contact)
        self._send(made)

    def _send(self, made):
        def delivered(error, message):
            if error is not None:
                self.failures.append(str(error))
            else:
                self.positions[message.partition(), message.offset()] = made["event_id"]
        # The key is the contact's, so that its events share a partition; bad ones are spread.
        key = made["event_id"] if len(made["phone_number"]) < 5 else made["phone_number"]
        self.producer.produce(self.topic.name, json.dumps(made), key=key, on_delivery=delivered)
