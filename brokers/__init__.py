"""The Dramatiq brokers, and the queue port of the log on top of them."""

from brokers.dead_letters import DeadLetter, DeadLetters
from brokers.opening import AnyBroker, open_broker
from brokers.queue import BrokerQueue, declare_queues, queue_name, queue_names, read_wakeup
from brokers.sqlite import SqliteBroker

__all__ = [
    "AnyBroker",
    "BrokerQueue",
    "DeadLetter",
    "DeadLetters",
    "SqliteBroker",
    "declare_queues",
    "open_broker",
    "queue_name",
    "queue_names",
    "read_wakeup",
]
