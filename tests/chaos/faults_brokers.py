"""What the scenarios of Kafka need beside a broker: one of their own that may be broken, access rules, bytes of its
disk."""
import os
import subprocess

from signup_harness import ChaosProxy, KafkaMock, KafkaNode, free_port
from signup_harness.process import run_script


class OwnKafka:
    """A broker of the lane's own, with access rules, records that expire when a topic says so, and a way in through a
    proxy."""

    def __init__(self, servers):
        if not servers.broker.is_real:
            self.node = self.proxy = None
            return
        inner, outer = free_port(), free_port()
        self.node = KafkaNode(servers.folder / "kafka-of-faults", extra_listener=(inner, outer), settings={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true", "log.initial.task.delay.ms": "500",
            "log.retention.check.interval.ms": "300"})
        self.proxy = ChaosProxy(inner, outer)

    def through_proxy(self):
        return f"127.0.0.1:{self.proxy.port}"

    def rules(self, *arguments):
        """Access rules, by Kafka's own tool."""
        jars = run_script(KafkaNode.script, "fetch")
        tool = ["java", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", "kafka.admin.AclCommand"]
        done = subprocess.run([*tool, "--bootstrap-server", self.node.bootstrap, *arguments], capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def close(self):
        if self.proxy:
            self.proxy.close()
        if self.node:
            self.node.kill()  # nobody needs what it has


def mock_cluster(stage):
    """Three brokers of librdkafka's mock cluster, for one scenario."""
    return stage.closes(KafkaMock(stage.folder / "mock", brokers=3))


class Segment:
    """The file of one partition's records on the disk of a real broker."""

    def __init__(self, broker, topic, partition):
        self.path = broker.folder / "data" / f"{topic.name}-{partition}" / f"{0:020d}.log"

    def size(self):
        return self.path.stat().st_size

    def flip(self, position):
        """Inverts one byte; again to heal it."""
        with open(self.path, "r+b") as file:
            byte = os.pread(file.fileno(), 1, position)
            os.pwrite(file.fileno(), bytes([byte[0] ^ 0xff]), position)
