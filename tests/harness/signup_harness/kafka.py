"""Brokers: Apache Kafka from its Maven artifacts, or librdkafka's mock cluster; both with the same face."""
import base64
import collections
import json
import os
import shutil
import subprocess
import tempfile

import confluent_kafka
import confluent_kafka.admin

from .process import HARNESS_DIR, ScriptFailed, control_line, find_binary, run_script, spawn, tail
from .waiting import wait_until

EX_UNAVAILABLE = 69
START_S = 300  # a virtual machine of Java on a starved host; the script itself gives up after half of it

Record = collections.namedtuple("Record", "partition offset timestamp_ms key value headers")
Record.__doc__ = "A record as it lies on the topic: key and value are bytes or None, headers a list of (name, bytes)."


class BrokerUnavailable(RuntimeError):
    """Apache Kafka cannot be had on this machine."""


def _bytes(source, name):
    if f"{name}_base64" in source:
        return base64.b64decode(source[f"{name}_base64"])
    value = source.get(name)
    return None if value is None else value.encode()


class Broker:
    """What both kinds can do for a test; `bootstrap` is the address for clients."""

    bootstrap = None

    def tool(self, command, *arguments, timeout=60):
        """Output of kafka-tool."""
        done = subprocess.run([find_binary("kafka-tool"), command, "--brokers", self.bootstrap, "--timeout",
                               str(timeout), *map(str, arguments)], capture_output=True, text=True,
                              timeout=timeout + 30, check=False)
        assert done.returncode == 0, f"kafka-tool {command}: exit {done.returncode}\n{done.stderr}"
        return done.stdout

    def consume(self, topic):
        """Every record of the topic, by partition and offset."""
        records = []
        for line in self.tool("consume", "--topic", topic).splitlines():
            source = json.loads(line)
            headers = [(header["name"], _bytes(header, "value")) for header in source["headers"]]
            records.append(Record(source["partition"], source["offset"], source["timestamp_ms"],
                                  _bytes(source, "key"), _bytes(source, "value"), headers))
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def offsets(self, topic, group):
        """{partition: {"low", "high", "committed", "lag"}} of a consumer group."""
        answer = json.loads(self.tool("offsets", "--topic", topic, "--group", group))
        return {entry["partition"]: entry for entry in answer["partitions"]}

    def lag(self, topic, group):
        return int(self.tool("lag", "--topic", topic, "--group", group))

    def wait_drained(self, topic, group, timeout):
        """Until the group has committed everything that is on the topic."""
        wait_until(lambda: self.lag(topic, group) == 0, timeout,
                   lambda: f"{group} on {topic}: {self.offsets(topic, group)}", interval=0.1)

    def generate(self, topic, count, seed=1, first=0, contacts=None, lists=None):
        """Publishes synthetic events fast and returns them, as the dictionaries that they are."""
        arguments = ["--gen", count, "--seed", seed, "--first", first]
        arguments += ["--contacts", contacts] if contacts else []
        arguments += ["--lists", ",".join(lists)] if lists else []
        self.tool("produce", "--topic", topic, *arguments)
        return [json.loads(line) for line in self.tool("produce", "--print", *arguments).splitlines()]


class KafkaNode(Broker):
    """Apache Kafka, one node, in a folder of its own. Raises BrokerUnavailable when Maven cannot deliver it."""

    is_real = True
    script = HARNESS_DIR / "kafka" / "kafka-node"

    def __init__(self, folder, owned=True, settings=(), extra_listener=None, heap="512m"):
        self.folder = folder
        arguments = ["--heap", heap]
        arguments += ["--owner", os.getpid()] if owned else []
        arguments += ["--extra-listener", "{}:{}".format(*extra_listener)] if extra_listener else []
        for name, value in dict(settings).items():
            arguments += ["--set", f"{name}={value}"]
        self.arguments = arguments
        try:
            run_script(self.script, "fetch", timeout=600)
        except ScriptFailed as failure:
            if failure.status == EX_UNAVAILABLE:
                raise BrokerUnavailable(str(failure)) from failure
            raise
        self.start()
        jars = run_script(self.script, "fetch")
        self.description = "Apache Kafka " + jars.rsplit("/kafka-", 1)[-1].split("-")[0] + " (KRaft)"

    def start(self):
        self.bootstrap = run_script(self.script, "start", "--dir", self.folder, *self.arguments, timeout=START_S)

    def stop(self):
        run_script(self.script, "stop", "--dir", self.folder)

    def kill(self):
        run_script(self.script, "kill", "--dir", self.folder)

    def restart(self):
        run_script(self.script, "restart", "--dir", self.folder, *self.arguments, timeout=START_S)

    def pid(self):
        return int((self.folder / "kafka.pid").read_text())

    def log_tail(self):
        return tail(self.folder / "node.log", 30)

    def create_topic(self, name, partitions=1, config=None):
        """Creates the topic and waits until every partition has a leader."""
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap})
        topic = confluent_kafka.admin.NewTopic(name, partitions, 1, config=config or {})
        admin.create_topics([topic], operation_timeout=20)[name].result(30)

        def led():
            found = admin.list_topics(name, timeout=10).topics[name]
            return (found.error is None and len(found.partitions) == partitions
                    and all(partition.leader >= 0 for partition in found.partitions.values()))
        wait_until(led, 20, f"leaders of {name}", interval=0.01)
        return Topic(self, name, partitions)

    def close(self):
        self.stop()


class KafkaMock(Broker):
    """librdkafka's mock cluster in a process of its own; `control` takes its commands, see kafka-mock --help."""

    is_real = False
    description = "librdkafka mock cluster"

    def __init__(self, folder, brokers=1):
        folder.mkdir(parents=True, exist_ok=True)
        program = find_binary("kafka-mock")
        # A socket's path must be short, which a test's folder need not be.
        self.short = tempfile.mkdtemp(prefix="signup-mock-")
        self.socket = os.path.join(self.short, "control")
        self.log = folder / "kafka-mock.log"
        bootstrap_file = folder / "bootstrap"
        bootstrap_file.unlink(missing_ok=True)
        self.process = spawn([program, "--brokers", brokers, "--control", self.socket,
                              "--bootstrap-file", bootstrap_file], self.log)
        wait_until(lambda: bootstrap_file.exists() or self.process.poll() is not None, 20, "the mock cluster")
        assert self.process.poll() is None, tail(self.log)
        self.bootstrap = bootstrap_file.read_text().strip()

    def control(self, command):
        return control_line(self.socket, command)

    def create_topic(self, name, partitions=1, config=None):
        assert not config, "the mock cluster knows no topic settings"
        self.control(f"create-topic {name} {partitions}")
        return Topic(self, name, partitions)

    def restart(self):
        """Connections are refused and come back; the mock keeps its data."""
        self.control("down -1")
        self.control("up -1")

    def log_tail(self):
        return tail(self.log, 30)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        shutil.rmtree(self.short, ignore_errors=True)


class Topic:
    """A topic of a test. Remembers every phone that was put on it, see LogCheck."""

    def __init__(self, broker, name, partitions, log_check=None):
        self.broker, self.name, self.partitions, self.log_check = broker, name, partitions, log_check

    def produce(self, events, key_field="phone_number", partition=None, headers=None, timestamp_ms=None):
        """Publishes values, each a dictionary (sent as JSON), bytes, text or None; returns [(partition, offset)] of
        each, in order. A dictionary's key is its `key_field`."""
        positions, failures = {}, []
        producer = confluent_kafka.Producer({"bootstrap.servers": self.broker.bootstrap, "acks": "all", "linger.ms": 2,
                                             "enable.idempotence": True, "message.max.bytes": 10485760,
                                             "partitioner": "murmur2_random"})

        def delivered(number):
            def note(error, message):
                if error is not None:
                    failures.append(error)
                else:
                    positions[number] = (message.partition(), message.offset())
            return note

        count = 0
        for event in events:
            key = None
            if isinstance(event, dict):
                key = event.get(key_field)
                key = None if key is None else str(key)
            self._remember(event)
            options = {"key": key, "headers": headers, "on_delivery": delivered(count)}
            if partition is not None:
                options["partition"] = partition
            if timestamp_ms is not None:
                options["timestamp"] = timestamp_ms
            value = json.dumps(event) if isinstance(event, dict) else event
            while True:
                try:
                    producer.produce(self.name, value, **options)
                    break
                except BufferError:
                    producer.poll(0.05)
            producer.poll(0)
            count += 1
        left = producer.flush(60)
        assert not failures and left == 0, f"{self.name}: {left} unanswered, failed: {failures[:3]}"
        return [positions[number] for number in range(count)]

    def generate(self, count, **options):
        events = self.broker.generate(self.name, count, **options)
        for event in events:
            self._remember(event)
        return events

    def consume(self):
        return self.broker.consume(self.name)

    def offsets(self, group):
        return self.broker.offsets(self.name, group)

    def wait_drained(self, group, timeout=60):
        self.broker.wait_drained(self.name, group, timeout)

    def _remember(self, event):
        if self.log_check is not None and isinstance(event, dict):
            for field in ("phone_number", "phone"):
                self.log_check.add_phone(event.get(field))


def start_broker(folder):
    """(broker, note): the real one; where Maven cannot deliver it the mock, unless SIGNUP_REQUIRE_KAFKA is 1."""
    try:
        broker = KafkaNode(folder / "kafka")
        return broker, broker.description
    except BrokerUnavailable as why:
        if os.environ.get("SIGNUP_REQUIRE_KAFKA") == "1":
            raise
        broker = KafkaMock(folder / "kafka-mock")
        return broker, f"{broker.description}, because Apache Kafka could not be had: {str(why).splitlines()[-1]}"
