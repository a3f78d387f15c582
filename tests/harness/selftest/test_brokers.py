"""The brokers: what is put in comes out, over restarts too, and the mock errs when it is told to."""
import confluent_kafka
import pytest

from signup_harness import KafkaMock, LogCheck, wait_until


@pytest.fixture
def mock(tmp_path):
    mock = KafkaMock(tmp_path, brokers=3)
    yield mock
    mock.close()


def consumer(broker, group):
    return confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group,
                                     "enable.auto.commit": False})


def test_records_keep_every_byte(topics):
    values = [{"phone_number": "+12125550100", "n": 1}, None, b"", b"\x00\xff\n", "text"]
    positions = topics.source.produce(values, headers=[("a", b"x"), ("a", b"\xff"), ("empty", None)])
    records = {(record.partition, record.offset): record for record in topics.source.consume()}
    assert len(records) == len(values) == len(set(positions))
    assert records[positions[0]].key == b"+12125550100" and records[positions[0]].value.startswith(b'{"phone_number"')
    assert [records[position].value for position in positions[1:]] == [None, b"", b"\x00\xff\n", b"text"]
    assert records[positions[1]].headers == [("a", b"x"), ("a", b"\xff"), ("empty", None)]


def test_generated_events_are_unique_and_the_same_for_a_seed(topics, log_check):
    events = topics.source.generate(3000, seed=5, lists=["+18005550100", "+18005550101"])
    assert [event["custom_fields"]["seq"] for event in events] == list(range(3000))
    assert len({event["phone_number"] for event in events}) == 3000
    assert {event["list_number"] for event in events} == {"+18005550100", "+18005550101"}
    assert sum(entry["high"] for entry in topics.source.offsets("nobody").values()) == 3000
    assert log_check.problems("contact " + events[17]["phone_number"]) != []
    assert topics.source.generate(10, seed=5, contacts=2)[9]["phone_number"] == events[1]["phone_number"]


def test_lag_follows_commits(topics):
    topics.source.produce([{"phone_number": "+12125550100"}] * 5, partition=1)
    assert topics.source.broker.lag(topics.source.name, topics.group) == 5
    reader = consumer(topics.source.broker, topics.group)
    position = confluent_kafka.TopicPartition(topics.source.name, 1, 5)
    reader.commit(offsets=[position], asynchronous=False)
    reader.close()
    topics.source.wait_drained(topics.group, 10)
    assert topics.source.offsets(topics.group)[1]["committed"] == 5


def test_records_survive_kill_and_restart(broker, topics):
    if not broker.is_real:
        pytest.skip("the mock cluster keeps nothing")
    topics.source.produce([b"before"], partition=0)
    broker.kill()
    broker.start()
    topics.source.produce([b"between"], partition=0)
    broker.restart()
    assert [record.value for record in topics.source.consume()] == [b"before", b"between"]


def test_mock_errs_on_command(mock):
    mock.create_topic("signups", 3).produce([b"x"], partition=2)
    reader = consumer(mock, "group")
    position = confluent_kafka.TopicPartition("signups", 2, 1)
    mock.control("errors OffsetCommit TOPIC_AUTHORIZATION_FAILED")
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        reader.commit(offsets=[position], asynchronous=False)
    assert refused.value.args[0].code() == confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED
    reader.commit(offsets=[position], asynchronous=False)
    reader.close()
    assert mock.offsets("signups", "group")[2]["committed"] == 1


@pytest.mark.parametrize("request_name, error", [
    ("ListOffsets", "NOT_LEADER_FOR_PARTITION"), ("ListOffsets", "LEADER_NOT_AVAILABLE"), ("ListOffsets", "_TRANSPORT"),
    ("OffsetFetch", "NOT_COORDINATOR"), ("OffsetFetch", "COORDINATOR_LOAD_IN_PROGRESS"), ("Fetch", "_TRANSPORT"),
    ("Metadata", "_TRANSPORT")])
def test_no_topic_looks_empty_while_the_cluster_moves(mock, request_name, error):
    topic = mock.create_topic("signups", 3)
    topic.produce([b"a", b"b", b"c"])
    mock.control(f"errors {request_name} {error} {error} {error}")
    assert sorted(record.value for record in topic.consume()) == [b"a", b"b", b"c"]
    mock.control(f"errors {request_name} {error} {error} {error}")
    assert mock.lag("signups", "nobody") == 3


def test_mock_moves_leaders_and_refuses(mock):
    topic = mock.create_topic("signups", 1)

    def leader():
        metadata = confluent_kafka.Consumer({"bootstrap.servers": mock.bootstrap, "group.id": "x"}).list_topics("signups")
        return metadata.topics["signups"].partitions[0].leader
    for wanted in (2, 3, 1):
        mock.control(f"leader signups 0 {wanted}")
        wait_until(lambda: leader() == wanted, 10, f"leader {wanted}")
    mock.control("down -1")
    with pytest.raises(AssertionError):
        mock.tool("metadata", timeout=1)
    mock.control("up -1")
    topic.produce([b"again"])
    for command, complaint in (("errors Nonsense NONE", "unknown request"), ("errors Fetch NONSENSE", "unknown error"),
                               ("down 4", "number"), ("leader signups", "words"), ("fly", "unknown command")):
        with pytest.raises(RuntimeError, match=complaint):
            mock.control(command)


def test_log_check_finds_what_it_must():
    check = LogCheck()
    check.add_secret("trk_secret")
    for phone in ("+12125550100", "(415) 555-0123", 3105550177, None, "123"):
        check.add_phone(phone)
    clean = "level=info msg=ready phone=+1212***0100 offset=1 at=2025-11-21T01:02:03.123456Z\n"
    assert check.problems(clean * 3) == []
    for bad in ("x +12125550100 y", "x 2125550100", "(415) 555-0123", "+14155550123", "4155550123", "3105550177",
                "key=trk_secret", "a.c:3: f: Assertion `x' failed.", "==1==ERROR: AddressSanitizer: heap",
                "a.c:1:2: runtime error: shift"):
        assert check.problems(clean + bad) != [], bad
    assert not any("trk_secret" in problem or "2125550100" in problem
                   for problem in check.problems("key=trk_secret\n+12125550100"))
