"""Real servers and the real worker for tests: a broker, a PostgreSQL cluster, the contacts simulator, a chaos proxy."""
from .chaos import ChaosProxy
from .contacts import ContactsSim
from .kafka import BrokerUnavailable, KafkaMock, KafkaNode, Record, Topic, start_broker
from .ledger import Ledger
from .logcheck import LogCheck
from .postgres import PostgresNode
from .process import HARNESS_DIR, SOURCE_DIR, find_binary, tail
from .waiting import free_port, wait_until
from .worker import Worker

__all__ = [
    "BrokerUnavailable", "ChaosProxy", "ContactsSim", "HARNESS_DIR", "KafkaMock", "KafkaNode", "Ledger", "LogCheck",
    "PostgresNode", "Record", "SOURCE_DIR", "Topic", "Worker", "find_binary", "free_port", "start_broker", "tail",
    "wait_until",
]
