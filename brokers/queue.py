"""The queue port on a Dramatiq broker: wake-ups become messages of the actors."""

import asyncio
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from dramatiq import Message

from lightning.answers import Answers, Caller, caller
from lightning.errors import InvalidEvent, Transient
from lightning.events import TYPES
from lightning.queue import Wakeup

#: Messages that are handed to the broker in one go.
MAX_TOGETHER = 200

_Enqueue = tuple["Message[Any]", int | None]
_Job = tuple[list[_Enqueue], Caller]


class BatchBroker(Protocol):
    """What the queue asks of a broker besides being one of Dramatiq's."""

    def declare_queue(self, queue_name: str) -> None:
        """Make a queue known; once more does nothing."""
        ...

    def enqueue_many(self, messages: Sequence[_Enqueue]) -> Any:
        """Enqueue messages with their delays (milliseconds or None), all in one write."""
        ...

    def oldest_message_age_seconds(self, queue_name: str | None = None) -> float | None:
        """Tell how long the oldest waiting message has been due."""
        ...


class BrokerQueue:
    """Sends wake-ups through a broker, from one thread that sends together what came together.

    Parameters:
      broker: The broker.
      default_queue: Name of the default queue; others append a suffix.
    """

    def __init__(self, broker: BatchBroker, default_queue: str) -> None:
        self._broker = broker
        self._default_queue = default_queue
        for kind in TYPES.values():
            broker.declare_queue(queue_name(default_queue, kind.actor))
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="queue-sender", daemon=True)
        self._thread.start()

    async def send(self, wakeups: Sequence[Wakeup]) -> None:
        """Hand messages to the broker; see `Queue.send`."""
        waiting = caller()
        self._jobs.put(([self._message(wakeup) for wakeup in wakeups], waiting))
        await waiting[1]

    async def oldest_age_seconds(self) -> float | None:
        """Tell how far behind the workers are; see `Queue.oldest_age_seconds`."""
        return await asyncio.to_thread(self._oldest)

    async def close(self) -> None:
        """Send what was handed over, then stop the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _oldest(self) -> float | None:
        try:
            return self._broker.oldest_message_age_seconds()
        except Exception as error:  # brokers raise what their SDKs raise
            raise _unavailable(error) from error

    def _message(self, wakeup: Wakeup) -> _Enqueue:
        kwargs: dict[str, Any] = {
            "userID": wakeup.user_id,
            "eventID": wakeup.event_id,
            "wake": wakeup.wake,
            "sentAt": wakeup.sent_at,
        }
        if wakeup.session is not None:
            kwargs["sessionToken"] = wakeup.session
        message = Message[Any](
            queue_name=queue_name(self._default_queue, wakeup.actor),
            actor_name=wakeup.actor,
            args=(),
            kwargs=kwargs,
            options={"trace": wakeup.trace} if wakeup.trace else {},
        )
        return message, round(wakeup.delay_seconds * 1000) or None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            stopping = False
            while len(jobs) < MAX_TOGETHER:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    stopping = True
                    break
                jobs.append(more)
            self._send(jobs)
            if stopping:
                return

    def _send(self, jobs: list[_Job]) -> None:
        answers = Answers()
        try:
            self._broker.enqueue_many([message for messages, _ in jobs for message in messages])
        except Exception as error:  # noqa: BLE001 -- brokers raise what their SDKs raise; the senders hear of it
            for _, waiting in jobs:
                answers.error(waiting, _unavailable(error))
        else:
            for _, waiting in jobs:
                answers.result(waiting, None)
        answers.send()


def queue_name(default_queue: str, actor: str) -> str:
    """Give the queue of an actor: conversations have the default queue, others append their name."""
    return default_queue if actor == "chat" else f"{default_queue}-{actor.replace('_', '-')}"


def read_wakeup(actor: str, kwargs: Mapping[str, Any], trace: object = None) -> Wakeup:
    """Read a message's arguments as the wake-up that they are.

    Raises:
      InvalidEvent: They are not one; the message is not ours.
    """
    try:
        return Wakeup(
            user_id=str(kwargs["userID"]),
            event_id=str(kwargs["eventID"]),
            wake=int(kwargs["wake"]),
            actor=actor,
            sent_at=float(kwargs["sentAt"]),
            trace=cast("dict[str, str]", trace) if isinstance(trace, dict) else {},
            session=None if kwargs.get("sessionToken") is None else str(kwargs["sessionToken"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"the message is not a wake-up: {error}", code="not_a_wakeup") from None


def _unavailable(error: Exception) -> Transient:
    return Transient(f"the queue is not available ({error})", code="queue_unavailable")
