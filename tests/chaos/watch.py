"""Looks at the run while it goes on: committed offsets never go back and never pass a row that is not durable; how long a
partition that has work stands still; how much memory the workers take."""
import threading
import time

import confluent_kafka
import psycopg2


class Watcher:
    """A thread that looks twice a second. close() ends it; then `complaints`, `stall_s` and `rss_bytes` are complete."""

    def __init__(self, topics, ledger, fleet=(), interval=0.5):
        self.topics, self.ledger, self.fleet, self.interval = topics, ledger, fleet, interval
        self.complaints, self.committed, self.commits = [], {}, 0
        self.stall_s, self.stalled, self.rss_bytes = 0.0, None, 0
        self.moved_at = {}
        self.partitions = [confluent_kafka.TopicPartition(topics.source.name, number)
                           for number in range(topics.source.partitions)]
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        self.ended.set()
        self.thread.join(30)
        return self

    def check(self):
        assert not self.complaints, self.complaints[:5]

    def _run(self):
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.topics.source.broker.bootstrap,
                                             "group.id": self.topics.group, "enable.auto.commit": False})
        while not self.ended.wait(self.interval):
            try:
                self._look(consumer)
            except (confluent_kafka.KafkaException, psycopg2.Error):
                self.moved_at.clear()  # a server is away: that is somebody else's fault
            self._weigh()
        consumer.close()

    def _look(self, consumer):
        now, begun = time.monotonic(), {}
        for found in consumer.committed(self.partitions, timeout=5):
            begun[found.partition] = max(found.offset, 0)
        for number, offset in begun.items():
            before = self.committed.get(number, 0)
            if offset < before:
                self.complaints.append(f"partition {number}: committed {offset} after {before}")
            self.commits += offset > before
            behind = offset < consumer.get_watermark_offsets(self.partitions[number], timeout=5)[1]
            if offset > before or not behind or number not in self.moved_at:
                self.moved_at[number] = now
            elif now - self.moved_at[number] > self.stall_s:
                self.stall_s, self.stalled = now - self.moved_at[number], number
        self.committed.update(begun)
        self._look_at_rows(begun)

    def _look_at_rows(self, committed):
        """Asked after the offsets: what they have passed must be durable by now."""
        ahead = self.ledger.query(
            'SELECT e.event_id, e."partition", e."offset" FROM {schema}.event e JOIN unnest(%s::int[], %s::bigint[]) '
            'AS c(p, o) ON e."partition" = c.p AND e."offset" < c.o WHERE e.state = \'claimed\' AND e.replays = 0 LIMIT 5',
            (list(committed), list(committed.values())))
        self.complaints += [f"committed past {row['event_id']} at {row['partition']}:{row['offset']}" for row in ahead]

    def _weigh(self):
        for worker in list(self.fleet):
            try:
                if worker.is_running():
                    self.rss_bytes = max(self.rss_bytes, worker.rss_bytes())
            except (OSError, TypeError):
                pass  # it has just died
