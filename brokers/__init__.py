"""The Dramatiq brokers, and the queue port of the log on top of them."""

from brokers.opening import open_broker
from brokers.queue import BrokerQueue, queue_name, read_wakeup
from brokers.sqlite import SqliteBroker

__all__ = ["BrokerQueue", "SqliteBroker", "open_broker", "queue_name", "read_wakeup"]
