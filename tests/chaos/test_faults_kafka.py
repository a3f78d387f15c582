"""Kafka misbehaves, rows 12 to 17, 20 to 25, 55, 56, 59 and 72 of the fault matrix. On the real broker where it can be made
to; what it cannot be made to answer comes from librdkafka's mock cluster. Offsets never go back and never pass a record
without a durable row."""
import hashlib
import json
import signal
import time

import confluent_kafka
import confluent_kafka.admin

from faults_brokers import OwnKafka, Segment, mock_cluster
from faults_crew import crew, lasts, scenario  # pylint: disable=unused-import
from faults_stage import IN_FLIGHT
from results import not_here
from signup_harness import wait_until
from signups import Suspended, event, text_headers

SHARED = 2.0  # this machine is shared: a bound is held against so many times itself
AWAY = "Kafka is away"
NO_KAFKA = "Apache Kafka could not be had"


def on_own_broker(**options):
    """On a real broker that may be killed; the body is not run where there is none."""
    return scenario(lane="kafka", server=OwnKafka, broker=lambda stage: stage.shared.node or stage.servers.broker, **options)


def on_mock(**options):
    return scenario(broker=mock_cluster, **options)


def letters_of(stage, count, timeout=40):
    """{event id: letter} once there are so many."""
    wait_until(lambda: stage.offsets.size(stage.dead_letter) >= count, timeout,
               lambda: f"{count} letters, but {stage.offsets.size(stage.dead_letter)}", interval=0.1)
    return {text_headers(letter)["signup.event_id"]: letter for letter in stage.dead_letter.consume()}


def all_marked(stage, timeout=40):
    wait_until(lambda: not stage.ledger.rows("state = 'dead' AND dead_letter_published_at IS NULL"), timeout,
               "all letters marked", interval=0.1)


# --- the broker goes and comes back ---

@on_own_broker()
def test_broker_restarted(stage):
    """kill -9 in the middle of a stream, and its return."""
    if not stage.broker.is_real:
        not_here(12, "broker killed and started again", NO_KAFKA)
        return
    with stage.row(12, "broker killed and started again", f"kill -9, start after {lasts(0, 10)} s") as found:
        worker = stage.worker()
        stage.stream(6000, fed=False)
        rate = stage.wait_steady()
        stage.broker.kill()
        try:
            stage.sees(worker, "kafka: ", line=AWAY)
            stage.outage(lasts(0, 10))
        finally:
            stage.broker.start()
        since = time.time()
        worker.wait_ready()
        stage.produce(800, first=len(stage.produced), contacts=200)
        stage.recovered(found, since, rate, 10, SHARED, counted=time.time())
        stage.stream_ends()
        stage.drained()
        assert len(stage.lines(worker, AWAY)) == 1


@on_own_broker()
def test_broker_silent(stage):
    """The broker keeps its connections and says nothing: memory stays, a worker that is told to stop leaves in time, and
    the other goes on as soon as it speaks again."""
    seconds = lasts(8, 120)
    if not stage.broker.is_real:
        not_here(13, "broker silent", NO_KAFKA)
        return
    with stage.row(13, "broker silent (half-open)",
                   f"SIGSTOP for {seconds} s; meanwhile SIGTERM for one of two workers") as found:
        first, second = stage.worker(limits={"shutdown": "3s"}), stage.worker(limits={"shutdown": "3s"})
        stage.stream(6000, fed=False)
        stage.wait_steady()
        with Suspended(stage.broker.pid()):
            began = time.time()
            stage.sim.latency(0)
            second.wait_not_ready(timeout=20, reason="kafka: ")
            first.process.send_signal(signal.SIGTERM)
            told = time.time()
            assert first.wait_exit(20) == 0
            left = time.time() - told
            assert left <= 3 * SHARED, left
            stage.outage(max(0.0, seconds - (time.time() - began)))
        since = time.time()
        known = set(stage.produced)
        stage.produce(100, first=len(stage.produced))
        wait_until(lambda: any(one["event_id"] not in known for one in stage.ledger.rows("state = 'accepted'")), 40,
                   "the first event of those that came after it", interval=0.1)
        found.recovery(time.time() - since, 10 * SHARED)
        second.wait_ready()
        stage.drained()
        found.note(f"the worker that was told to stop left in {left:.1f} s")


@scenario()
def test_late_completion(stage):
    """A call that ends after its partition went to another worker: its row is written, no offset goes back, nobody is
    called twice."""
    with stage.row(20, "late completion after a revoke",
                   "API suspended while a second worker joins; revoke_drain 500 ms") as found:
        patient = {"kafka": {"revoke_drain": "500ms"}, "contacts_api": {"timeout": "60s"}}
        first = stage.worker(**patient)
        stage.produce(100, contacts=50)
        stage.wait_accepted(100)
        with Suspended(stage.sim.process.pid):
            stage.produce(16, first=len(stage.produced))
            wait_until(lambda: first.metric("signup_calls_in_flight") == IN_FLIGHT, 10, "calls that are held")
            began = time.time()
            second = stage.worker(**patient)
            wait_until(lambda: all(worker.metric("signup_assigned_partitions") == 2 for worker in (first, second)), 40,
                       "two halves")
            shared_after = time.time() - began
            assert first.metric("signup_calls_in_flight") == IN_FLIGHT, "a call was over before the partitions had moved"
        stage.drained()
        committed = stage.offsets.committed()
        stage.produce(40, first=len(stage.produced))
        stage.drained()
        assert all(stage.offsets.committed()[number] >= offset for number, offset in committed.items())
        found.note(f"halves after {shared_after:.1f} s, {stage.offsets.looks} looks at the offsets")


@scenario()
def test_mixed_assignors(stage):
    """A member whose assignor the others do not know: the group's rule is refused with a reason, and the first member works
    on."""
    if not stage.broker.is_real:
        not_here(21, "mixed assignors", "the mock cluster's own assertion ends it")
        return
    with stage.row(21, "mixed assignors",
                   "a second worker with partition.assignment.strategy=roundrobin joins one with range") as found:
        first = stage.worker(kafka={"properties": {"partition.assignment.strategy": "range"}})
        second = stage.worker(ready=False, kafka={"properties": {"partition.assignment.strategy": "roundrobin"}})
        stage.produce(200)
        stage.wait_accepted(200)
        second.wait_not_ready(reason="kafka: ")
        second.wait_log("(?i)inconsistent", timeout=15)
        assert first.metric("signup_assigned_partitions") == 4
        assert second.stop() == 0
        stage.drained()
        found.note("the second one says why and gets nothing, the first one works on")


@scenario()
def test_same_static_identity(stage):
    """Two workers with the same group.instance.id: the older one is fenced, leaves with 75, and does no harm."""
    if not stage.broker.is_real:
        not_here(22, "duplicate static id", "the mock cluster does not fence")
        return
    with stage.row(22, "duplicate static id", "group.instance.id of both the same") as found:
        options = {"kafka": {"properties": {"group.instance.id": "the-same"}}}
        first = stage.worker(**options)
        stage.stream(3000, fed=False)
        stage.wait_accepted(100)
        second = stage.worker(ready=False, **options)
        began = time.time()
        status = wait_until(lambda: None if first.is_running() else (first.process.returncode,), 20, "the older one's end")[0]
        assert status == 75, status
        took = time.time() - began
        first.wait_log("failed for good|gave up for good")
        stage.made.remove(first)
        second.wait_ready()
        stage.stream_ends()
        stage.drained()
        found.recovery(took)
        found.note("the older one exited with 75")


@on_own_broker(partitions=2, watch=False)
def test_expired_offset(stage):
    """The group's offset is older than the oldest record: this partition waits and says what is gone, the other goes on;
    nobody jumps over the gap."""
    if not stage.broker.is_real:
        not_here(24, "committed offset expired", NO_KAFKA)
        return
    with stage.row(24, "committed offset expired", "retention.ms of the topic, one partition") as found:
        settings = {"segment.ms": "200", "retention.ms": "60000"}
        expiring = stage.broker.create_topic(stage.source.name + "-expiring", 1, config=settings)
        topics = {"topics": [stage.source.name, expiring.name]}
        worker = stage.worker(kafka=topics)
        expiring.produce([event(number) for number in range(10)])
        stage.wait_accepted(10)
        assert worker.stop() == 0  # its offset is 10
        late = [event(number) for number in range(10, 60)]
        expiring.produce(late[:40])
        set_config(stage.broker, expiring, {**settings, "retention.ms": "500"})
        edge = OffsetsOf(stage, expiring)
        wait_until(lambda: edge.nudge() > 10, 30, "records that expire", interval=0.3)
        worker.start(ready=False)
        stage.sees(worker, "kafka: ", line="a partition is not consumed, the others go on")
        line = stage.lines(worker, "a partition is not consumed")[0]
        assert f"topic={expiring.name}" in line and "offset=10" in line and "records_gone=" in line, line
        stage.produce(20, first=1000)
        wait_until(lambda: stage.accepted() == 30, 20, "the other partitions")
        assert stage.ledger.query("SELECT count(*) AS n FROM {schema}.event WHERE topic = %s", (expiring.name,))[0]["n"] == 10
        found.note("said which records are gone; the other topic went on; nothing was skipped")


def set_config(broker, topic, values):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker.bootstrap})
    kind = confluent_kafka.admin.ConfigResource.Type.TOPIC
    resource = confluent_kafka.admin.ConfigResource(kind, topic.name, set_config=values)
    for future in admin.alter_configs([resource]).values():
        future.result(20)


class OffsetsOf:
    """The lowest offset of a topic's only partition; a record more now and then lets its segments roll."""

    def __init__(self, stage, topic):
        self.stage, self.topic, self.count = stage, topic, 0

    def nudge(self):
        self.count += 1
        self.topic.produce([event(5000 + self.count)])
        return self.stage.offsets.ends(self.topic)[0][0]


@scenario(partitions=2, watch=False)
def test_topic_changes(stage):
    """Partitions are added under the worker: it reads them within the metadata's interval. The topic is deleted and made
    anew: it says so, by the record numbers it cannot find or by the topic that is not there, and does not jump."""
    if not stage.broker.is_real:
        not_here(25, "partitions added; topic deleted and made anew", NO_KAFKA)
        return
    with stage.row(25, "partitions added; topic deleted and made anew", "admin calls; metadata every second") as found:
        worker = stage.worker(kafka={"properties": {"topic.metadata.refresh.interval.ms": 1000}})
        stage.produce(40)
        stage.wait_accepted(40)
        stage.broker.tool("add-partitions", "--topic", stage.source.name, "--partitions", 6)
        since = time.time()
        wait_until(lambda: worker.metric("signup_assigned_partitions") == 6, 20, "the new partitions")
        added = time.time() - since
        found.recovery(added, 1 + 5 * SHARED)
        for partition in range(2, 6):
            stage.produce(5, first=len(stage.produced), partition=partition)
        stage.wait_accepted(60)
        seen = len(worker.log_text())
        stage.broker.tool("delete-topic", "--topic", stage.source.name)
        worker.wait_log("level=(warn|error) room=kafka", after=seen)
        stage.broker.create_topic(stage.source.name, 6)
        stage.source.partitions = 6
        stage.publish([event(number, event_id=f"new-{number}") for number in range(900, 940)])
        outcome = wait_until(lambda: after_recreation(stage, worker), 30, lambda: f"{worker.get('/readyz')}, {stage.states()}")
        found.note(f"6 partitions after {added:.1f} s; made anew: {outcome}")


def after_recreation(stage, worker):
    """Either the new records are read from their beginning, or the worker says which partition waits for a decision."""
    if stage.accepted() == 100:
        return "read from its beginning"
    status, text = worker.get("/readyz")
    return "waits and says so" if status == 503 and "not consumed" in text else None


# --- what only the mock can be made to say ---

@on_mock()
def test_leaders_change(stage):
    """A hundred changes of leaders in a few seconds of a stream."""
    count = lasts(100, 1000)
    with stage.row(14, f"partition leader changes, {count} times", "mock: partition_set_leader every 40 ms") as found:
        stage.worker()
        stage.stream(4000 + 12 * count, fed=False)
        rate = stage.wait_steady()
        for number in range(count):
            stage.broker.control(f"leader {stage.source.name} {number % 4} {(number // 4 + number) % 3 + 1}")
            stage.outage(0.04)
        since = time.time()
        stage.recovered(found, since, rate, 2, SHARED)
        stage.stream_ends()
        stage.drained()


@on_mock()
def test_leaderless(stage):
    """One partition has no leader for a while: the others do not notice, and it goes on when it has one."""
    seconds = lasts(4, 30)
    with stage.row(15, "leaderless partition", f"mock: no leader for {seconds} s") as found:
        stage.worker()
        stage.sim.latency(5)
        stage.produce(8, partition=0)
        stage.wait_accepted(8)
        stage.broker.control(f"leader {stage.source.name} 0 -1")
        sent = 8
        end = time.time() + seconds
        while time.time() < end:
            for partition in (1, 2, 3):
                stage.produce(10, first=sent, partition=partition)
                sent += 10
            stage.wait_accepted(sent)
        stage.broker.control(f"leader {stage.source.name} 0 2")
        since = time.time()
        stage.produce(20, first=sent, partition=0)
        wait_until(lambda: stage.accepted() == sent + 20, 5 * SHARED, lambda: f"partition 0: {stage.states()}")
        found.recovery(time.time() - since, 5 * SHARED)
        stage.drained()
        found.note(f"{sent - 8} events of the other partitions meanwhile")


@on_mock()
def test_coordinator_moves(stage):
    """The coordinator moves from broker to broker, and is loading whenever it is asked."""
    with stage.row(16, "coordinator moves; load in progress",
                   "mock: coordinator_set; errors for requests 8, 9, 10, 11, 12, 14") as found:
        worker = stage.worker(kafka={"properties": {"session.timeout.ms": 10000}})  # as in production
        stage.stream(6000, fed=False)
        rate = stage.wait_steady()
        for broker in (2, 3, 1, 2):
            stage.broker.control(f"coordinator group {stage.group} {broker}")
            since = time.time()
            lag_goes_on(stage, worker)
        errors = "COORDINATOR_LOAD_IN_PROGRESS NOT_COORDINATOR COORDINATOR_NOT_AVAILABLE"
        for request in ("OffsetCommit", "OffsetFetch", "FindCoordinator", "JoinGroup", "Heartbeat", "SyncGroup"):
            stage.broker.control(f"errors {request} {errors}")
        stage.broker.control(f"coordinator group {stage.group} 3")
        since = time.time()
        lag_goes_on(stage, worker)
        stage.recovered(found, since, rate, 5, SHARED)
        stage.stream_ends()
        stage.drained()
        found.note("4 moves, 18 errors")


def lag_goes_on(stage, worker):
    """Commits arrive again."""
    def committed():
        return sum(one["committed"] or 0 for one in worker.status()["partitions"])
    before = committed()
    wait_until(lambda: committed() > before or stage.offsets.lag() == 0, 30, "commits")


@on_mock(early=True)
def test_commit_errors(stage):
    """Each error that a commit can meet, as pitfalls 1.2 has them: those of the moment are tried again, those of the
    membership lead to a new one, those of the operator are said and do not spin, the fatal one ends the process with 75."""
    passing = ["REBALANCE_IN_PROGRESS", "COORDINATOR_LOAD_IN_PROGRESS", "NOT_COORDINATOR", "REQUEST_TIMED_OUT", "_TRANSPORT"]
    lost = ["ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID"]
    operators = ["OFFSET_METADATA_TOO_LARGE", "TOPIC_AUTHORIZATION_FAILED"]
    with stage.row(17, "commit errors, each of pitfalls 1.2", "mock: errors of OffsetCommit") as found:
        worker = stage.worker()
        for error in operators:
            refused_by_operator(stage, worker, error)
        for error in passing + lost:
            stage.broker.control(f"errors OffsetCommit {error}" + (f" {error}" if error in passing else ""))
            began = time.time()
            stage.produce(12, first=len(stage.produced))
            stage.wait_accepted(len(stage.produced), timeout=30)
            stage.wait_settled(timeout=30)
            stage.broker.control("clear OffsetCommit")
            took = time.time() - began
            assert error in lost or took < 10, (error, took)
            found.recovery(took)
            if error in lost:
                wait_until(lambda: worker.metric("signup_assigned_partitions") == 4, 20, "a new membership")
            else:
                wait_until(worker.is_ready, 20, f"a ready worker after {error}")
        stage.drained()
        assert len(stage.sim.book("received", op="upsert")) == len(stage.produced), "a call was repeated"
        stage.broker.control("errors OffsetCommit FENCED_INSTANCE_ID")
        stage.produce(12, first=len(stage.produced))
        status = wait_until(lambda: None if worker.is_running() else (worker.process.returncode,), 20, "the fenced one's end")[0]
        assert status == 75, status
        worker.start()
        stage.drained()
        found.note(f"{len(passing)} tried again, {len(lost)} with a new membership, {len(operators)} said and not spun on, "
                   "FENCED_INSTANCE_ID exits with 75")


def refused_by_operator(stage, worker, error):
    """Said as an error, asked again slowly, worked on meanwhile; the next process has nothing to call."""
    seen, failures = len(worker.log_text()), worker.metric("signup_commit_failures_total")
    stage.broker.control(f"errors OffsetCommit {error} {error}")
    stage.produce(12, first=len(stage.produced))
    worker.wait_log("level=error.*the broker refuses our offset commits", after=seen)
    stage.produce(12, first=len(stage.produced))
    stage.wait_accepted(len(stage.produced))
    stage.outage(1)
    assert worker.metric("signup_commit_failures_total") - failures <= 2, "it spins"
    worker.kill()
    stage.broker.control("clear OffsetCommit")
    worker.start()
    stage.wait_settled()


@on_mock(early=True, partitions=2)
def test_letters_have_no_leader(stage):
    """The dead-letter topic's partition has no leader: letters wait in the ledger, the source goes on, each is published
    once later."""
    with stage.row(55, "dead-letter topic leaderless", "mock: no leader") as found:
        worker = stage.worker()
        stage.broker.control(f"leader {stage.dead_letter.name} 0 -1")
        stage.publish([event(number, phone_number="12") if number % 4 == 0 else event(number) for number in range(80)])
        letters_wait(stage, worker, accepted=60, dead=20)
        stage.broker.control(f"leader {stage.dead_letter.name} 0 2")
        letters_come(stage, found, 20)


@on_mock(partitions=2)
def test_producer_is_fatal(stage):
    """The broker says that the producer's numbers are out of order: the producer is replaced, what was not acknowledged is
    sent again under the same event id."""
    with stage.row(56, "dead-letter producer fatal", "mock: OUT_OF_ORDER_SEQUENCE_NUMBER") as found:
        stage.publish([event(number, phone_number="12") if number % 2 == 0 else event(number) for number in range(60)])
        stage.broker.control("errors Produce OUT_OF_ORDER_SEQUENCE_NUMBER")
        began = time.time()
        worker = stage.worker()
        letters = letters_of(stage, 30)
        all_marked(stage)
        found.recovery(time.time() - began)
        worker.wait_log("the dead-letter producer is replaced")
        assert worker.metric("signup_dead_letter_producers_replaced_total") >= 1
        copies = stage.offsets.size(stage.dead_letter) - 30
        assert set(letters) == {f"e-{number}" for number in range(0, 60, 2)} and 0 <= copies <= 30
        stage.drained(accepted=30, dead=30)
        found.note(f"30 letters, {copies} second copies with the same id")


# --- dead letters on the real one ---

def letters_wait(stage, worker, **states):
    """The events have their fate and their offsets are committed while not one letter is out; the alarm is up."""
    wait_until(lambda: stage.states() == states, 30, lambda: f"{stage.states()}, wanted {states}")
    stage.wait_settled()
    wait_until(lambda: stage.ledger.rows("state = 'dead' AND dead_letter_published_at IS NULL"), 5, "letters that wait")
    worker.wait_log("level=(warn|error).*(dead letter|dead-letter)", timeout=45)
    wait_until(lambda: worker.metric("signup_dead_letter_alarm") == 1, 45, "the alarm")
    assert worker.is_ready(), "signups go on"


def letters_come(stage, found, count, bound=60):
    """The letters are published once what kept them is over, and the alarm ends."""
    since = time.time()
    letters = letters_of(stage, count, timeout=bound)
    all_marked(stage, timeout=bound)
    found.recovery(time.time() - since, bound)
    wait_until(lambda: stage.made[0].metric("signup_dead_letter_alarm") == 0, 10, "the end of the alarm")
    dead = {one["event_id"] for one in stage.ledger.rows("state = 'dead'")}
    assert set(letters) == dead and len(dead) == count
    copies = stage.offsets.size(stage.dead_letter) - count
    found.note(f"{count} letters, {copies} second copies")
    return letters


@scenario(partitions=2)
def test_letters_have_no_topic(stage):
    """The dead-letter topic is missing: the source goes on; the letters come when it is made."""
    with stage.row(55, "dead-letter topic missing", "named topic made only later") as found:
        name = stage.dead_letter.name + ".later"
        worker = stage.worker(kafka={"dead_letter_topic": name})
        stage.publish([event(number, phone_number="12") if number % 4 == 0 else event(number) for number in range(80)])
        letters_wait(stage, worker, accepted=60, dead=20)
        stage.dead_letter = stage.broker.create_topic(name, 1)
        letters_come(stage, found, 20)


@scenario(partitions=2)
def test_letter_too_large(stage):
    """A record that the source topic took is too large for the dead-letter topic: a pointer goes there, the bytes stay in
    the ledger."""
    if not stage.broker.is_real:
        not_here(55, "dead letter too large", "the mock cluster takes any size")
        return
    with stage.row(55, "dead letter too large", "max.message.bytes of the dead-letter topic 4,000") as found:
        small = stage.broker.create_topic(stage.dead_letter.name + ".small", 1, config={"max.message.bytes": "4000"})
        stage.dead_letter = small
        worker = stage.worker(kafka={"dead_letter_topic": small.name})
        large = event(1, phone_number="12", custom_fields={"text": "x" * 9000})
        stage.publish([large, event(2, phone_number="12"), event(3)])
        letters = letters_come(stage, found, 2)
        stage.drained(accepted=1, dead=2)
        pointer, headers = json.loads(letters["e-1"].value), text_headers(letters["e-1"])
        value = json.dumps(large).encode()
        partition, offset = stage.produced["e-1"]
        assert headers["signup.pointer"] == "true" and headers["signup.error.code"] == "invalid_phone", headers
        assert (pointer["topic"], pointer["partition"], pointer["offset"]) == (stage.source.name, partition, offset), pointer
        assert pointer["sha256"] == hashlib.sha256(value).hexdigest() and pointer["event_id"] == "e-1", pointer
        assert bytes(stage.ledger.row("e-1")["payload"]) == value
        assert json.loads(letters["e-2"].value)["event_id"] == "e-2" and worker.is_ready()
        assert worker.metric("signup_dead_letter_pointers_total") == 1


@on_own_broker(partitions=2)
def test_letters_are_not_allowed(stage):
    """The worker may not write to the dead-letter topic: the letters wait in the ledger until it may."""
    if not stage.broker.is_real:
        not_here(55, "dead-letter topic not authorised", NO_KAFKA)
        return
    with stage.row(55, "dead-letter topic not authorised", "access rule of the broker (StandardAuthorizer), taken back") as found:
        rule = ["--allow-principal", "User:somebody", "--operation", "Write", "--topic", stage.dead_letter.name]
        stage.shared.rules("--add", *rule)
        worker = stage.worker()
        stage.publish([event(number, phone_number="12") if number % 4 == 0 else event(number) for number in range(80)])
        letters_wait(stage, worker, accepted=60, dead=20)
        stage.shared.rules("--remove", "--force", *rule)
        letters_come(stage, found, 20)


# --- the bytes of the records ---

@scenario()
def test_compressed(stage):
    """Batches in each compression: the same results."""
    with stage.row(59, "compressed batches: gzip, snappy, lz4, zstd", "producer") as found:
        stage.worker()
        for kind in ("gzip", "snappy", "lz4", "zstd"):
            produce_compressed(stage, kind, 150)
        stage.drained()
        found.note("150 events each")


def produce_compressed(stage, kind, count):
    producer = confluent_kafka.Producer({"bootstrap.servers": stage.broker.bootstrap, "compression.type": kind, "linger.ms": 50})
    first = len(stage.produced)
    for number in range(first, first + count):
        one = event(number, custom_fields={"seq": number, "kind": kind, "text": "again and again " * 20})
        stage.log_check.add_phone(one["phone_number"])
        producer.produce(stage.source.name, json.dumps(one), key=one["phone_number"])
        stage.produced[one["event_id"]] = None
    assert producer.flush(30) == 0


@on_own_broker()
def test_corrupt_on_the_way(stage):
    """A byte of a batch is changed on its way to the worker: it is seen, fetched again, and nothing else happens."""
    if not stage.broker.is_real:
        not_here(59, "batch corrupted on the way", NO_KAFKA)
        return
    with stage.row(59, "batch corrupted on the way", "proxy inverts one byte of a fetch") as found:
        worker = stage.worker(kafka={"brokers": stage.shared.through_proxy()})
        stage.produce(20, partition=0)
        stage.wait_accepted(20)
        before = stage.shared.proxy.stats()["corrupted"]
        stage.shared.proxy("corrupt down 20000 1")
        since = time.time()
        events = [event(100 + number, custom_fields={"seq": number, "text": "y" * 2500}) for number in range(60)]
        stage.publish(events, partition=0)
        stage.drained()
        found.recovery(time.time() - since, 10 * SHARED)
        assert stage.shared.proxy.stats()["corrupted"] == before + 1 and worker.is_ready()
        found.note("60 records, one byte")


@scenario()
def test_corrupt_on_disk(stage):
    """A byte of a batch is wrong on the broker's disk: this partition stops there and says so, the others go on; once
    healed it goes on by itself."""
    if not stage.broker.is_real:
        not_here(59, "batch corrupt for good", NO_KAFKA)
        return
    with stage.row(59, "batch corrupt for good", "byte inverted in the broker's segment file, later back") as found:
        stage.produce(10, partition=0)
        segment = Segment(stage.broker, stage.source, 0)
        size = segment.size()
        stage.produce(10, first=10, partition=0)
        segment.flip(size + 200)
        stage.produce(30, first=20, partition=1)
        worker = stage.worker(ready=False)
        stage.wait_accepted(40)
        worker.wait_log("a partition cannot be read", timeout=20)
        worker.wait_not_ready(reason="kafka: ")
        stage.produce(30, first=50, partition=2)
        stage.wait_accepted(70)
        assert stage.offsets.committed()[0] <= 10 and len(stage.lines(worker, "a partition cannot be read")) == 1
        segment.flip(size + 200)
        since = time.time()
        stage.drained()
        found.recovery(time.time() - since, 10 * SHARED)
        worker.wait_ready()
        found.note("60 events of other partitions meanwhile, said once")


# --- configuration ---

@scenario()
def test_hangup_with_a_bad_file(stage):
    """SIGHUP while the file says nonsense: the old configuration stays in use. A start with it is refused with file and
    line."""
    with stage.row(72, "configuration file broken under a running worker", "bad values, then SIGHUP") as found:
        worker = stage.worker()
        stage.stream(2000)
        stage.wait_accepted(50)
        good = worker.config_path.read_text()
        worker.config_path.write_text(good.replace("max_in_flight: 8", "max_in_flight: plenty"))
        worker.process.send_signal(signal.SIGHUP)
        worker.wait_log("SIGHUP")
        stage.wait_accepted(stage.accepted() + 50)
        assert worker.is_running() and worker.is_ready()
        stage.stream_ends()
        stage.drained()
        assert worker.stop() == 0
        worker.start(ready=False)
        assert worker.wait_exit(20) == 78
        assert f"{worker.config_path}:" in worker.log_text() and "max_in_flight" in worker.log_text()
        found.note("old values stayed in use; a start with the file exits with 78")
