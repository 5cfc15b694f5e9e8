"""The queue port on a Dramatiq broker: wake-ups become messages of the actors."""

import asyncio
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from dramatiq import Message

from brokers.messages import NotEnqueued
from lightning.answers import Answers, Caller, caller
from lightning.errors import InvalidEvent, Transient
from lightning.events import TYPES
from lightning.ids import new_id
from lightning.queue import Wakeup

#: The form of a message's arguments; one that does not say it has the first. Raised when a worker that knows
#: only the form before could do the wrong thing: it leaves such messages to newer ones.
MESSAGE_VERSION = 1

#: Messages that are handed to the broker in one go.
MAX_TOGETHER = 200

#: What waits for a broker that does not answer, at most: 10 MB. The sweep announces what is behind that.
MAX_WAITING = 10_000

_Enqueue = tuple["Message[Any]", int | None]
_Job = tuple[list[_Enqueue], Caller]


class BatchBroker(Protocol):
    """What the queue asks of a broker besides being one of Dramatiq's."""

    def declare_queue(self, queue_name: str) -> None:
        """Make a queue known; once more does nothing."""
        ...

    def enqueue_many(self, messages: Sequence[_Enqueue]) -> Any:
        """Enqueue messages with their delays (milliseconds or None), in as few writes as possible.

        Raises:
          NotEnqueued: It says which were not; the others were.
          Exception: Anything else, and none of them was.
        """
        ...

    def oldest_message_age_seconds(self, queue_name: str | None = None) -> float | None:
        """Tell how long the oldest message has been due, in one queue or in all.

        One that a consumer holds does not count where the broker can tell.
        """
        ...

    def qsize(self, queue_name: str) -> int:
        """Count the messages of a queue: those that wait, are put off or are held."""
        ...

    def check(self, queue_name: str) -> None:
        """Ask a queue something that costs little; raises when it does not answer."""
        ...


class BrokerQueue:
    """Sends wake-ups through a broker, which may take to one of its queues while it does not to another.

    Parameters:
      broker: The broker.
      default_queue: Name of the default queue; others append a suffix.
    """

    def __init__(self, broker: BatchBroker, default_queue: str) -> None:
        self._broker = broker
        self._default_queue = default_queue
        declare_queues(broker, default_queue)
        self._senders: dict[str, _Sender] = {}
        self._checking: asyncio.Future[Transient | None] | None = None

    async def send(self, wakeups: Sequence[Wakeup]) -> None:
        """Hand messages to the broker; see `Queue.send`."""
        by_queue: dict[str, list[_Enqueue]] = {}
        for wakeup in wakeups:
            message, delay = self._message(wakeup)
            by_queue.setdefault(message.queue_name, []).append((message, delay))
        waiting = [self._sender(name).put(messages) for name, messages in by_queue.items()]
        if len(waiting) == 1:  # as mostly: gathering would cost as much as handing over
            await waiting[0]
            return
        for answer in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer

    async def oldest_age_seconds(self, actor: str | None = None, *, bulk: bool = False) -> float | None:
        """Tell how far behind the workers are; see `Queue.oldest_age_seconds`."""
        return await asyncio.to_thread(self._oldest, actor, bulk=bulk)

    async def depth(self) -> int:
        """Count the messages of all actors; see `Queue.depth`."""
        return await asyncio.to_thread(self._depth)

    async def check(self) -> None:
        """See that the default queue answers; who asks meanwhile shares the answer."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.ensure_future(asyncio.to_thread(self._check))
        error = await asyncio.shield(self._checking)
        if error is not None:
            raise error

    async def close(self) -> None:
        """Send what was handed over, then stop the thread."""
        for sender in self._senders.values():
            sender.stop()
        for sender in self._senders.values():
            await asyncio.to_thread(sender.thread.join)

    def _sender(self, name: str) -> "_Sender":
        sender = self._senders.get(name)
        if sender is None:
            sender = self._senders[name] = _Sender(self._broker, name)
        return sender

    def _check(self) -> Transient | None:
        try:
            self._broker.check(self._default_queue)
        except Exception as error:  # noqa: BLE001 -- brokers raise what their SDKs raise
            return _unavailable(error)
        return None

    def _oldest(self, actor: str | None, *, bulk: bool) -> float | None:
        name = None if actor is None else queue_name(self._default_queue, actor, bulk=bulk)
        try:
            return self._broker.oldest_message_age_seconds(name)
        except Exception as error:  # brokers raise what their SDKs raise
            raise _unavailable(error) from error

    def _depth(self) -> int:
        try:
            return sum(self._broker.qsize(name) for name in queue_names(self._default_queue))
        except Exception as error:  # brokers raise what their SDKs raise
            raise _unavailable(error) from error

    def _message(self, wakeup: Wakeup) -> _Enqueue:
        kwargs: dict[str, Any] = {
            "v": MESSAGE_VERSION,
            "userID": wakeup.user_id,
            "eventID": wakeup.event_id,
            "wake": wakeup.wake,
            "sentAt": wakeup.sent_at,
        }
        if wakeup.session is not None:
            kwargs["sessionToken"] = wakeup.session
        if wakeup.bulk:
            kwargs["bulk"] = True
        message = Message[Any](
            queue_name=queue_name(self._default_queue, wakeup.actor, bulk=wakeup.bulk),
            actor_name=wakeup.actor,
            args=(),
            kwargs=kwargs,
            options={"trace": wakeup.trace} if wakeup.trace else {},
            # for an id of its own dramatiq asks the kernel, which gives the interpreter's lock away
            message_id=new_id(),
        )
        return message, round(wakeup.delay_seconds * 1000) or None


class _Sender:
    """Sends to one queue of the broker, from one thread that sends together what came together."""

    def __init__(self, broker: BatchBroker, name: str) -> None:
        self._broker = broker
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=f"queue-sender-{name}", daemon=True)
        self.thread.start()

    def put(self, messages: list[_Enqueue]) -> "asyncio.Future[None]":
        """Hand messages over; the answer comes when they are sent, or at once when too many wait already."""
        waiting = caller()
        if self._jobs.qsize() < MAX_WAITING:
            self._jobs.put((messages, waiting))
        else:  # whoever handed them over has long given up, but the broker has not
            waiting[1].set_exception(_unavailable(TimeoutError(f"{MAX_WAITING:,} wait for it")))
        return waiting[1]

    def stop(self) -> None:
        """End the thread once it has sent what was handed over."""
        self._jobs.put(None)

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
        failed: Mapping[int, Exception] = {}
        try:
            self._broker.enqueue_many([message for messages, _ in jobs for message in messages])
        except NotEnqueued as error:
            failed = error.failed
        except Exception as error:  # noqa: BLE001 -- brokers raise what their SDKs raise; the senders hear of it
            failed = dict.fromkeys(range(sum(len(messages) for messages, _ in jobs)), error)
        answers = Answers()
        first = 0
        for messages, waiting in jobs:
            those = range(first, first := first + len(messages))
            why = next((failed[number] for number in those if number in failed), None)
            if why is None:
                answers.result(waiting, None)
            else:
                answers.error(waiting, _unavailable(why))
        answers.send()


def declare_queues(broker: BatchBroker, default_queue: str) -> None:
    """Make the queues of all actors known to a broker."""
    for name in queue_names(default_queue):
        broker.declare_queue(name)


def queue_names(default_queue: str) -> list[str]:
    """List the queues of all actors: two for each."""
    actors = sorted({kind.actor for kind in TYPES.values()})
    return [queue_name(default_queue, actor, bulk=bulk) for bulk in (False, True) for actor in actors]


def queue_name(default_queue: str, actor: str, *, bulk: bool = False) -> str:
    """Give a queue of an actor: conversations have the default queue, others append their name.

    Parameters:
      default_queue: Name of the default queue.
      actor: Whose.
      bulk: The one for users who have many under way.
    """
    name = default_queue if actor == "chat" else f"{default_queue}-{actor.replace('_', '-')}"
    return f"{name}-bulk" if bulk else name


def read_wakeup(actor: str, kwargs: Mapping[str, Any], trace: object = None) -> Wakeup:
    """Read a message's arguments as the wake-up that they are.

    Raises:
      InvalidEvent: They are not one, as the message is not ours (``not_a_wakeup``), or of a newer version
        (``message_too_new``).
    """
    version = kwargs.get("v", 1)
    if not isinstance(version, int) or version > MESSAGE_VERSION:
        message = f"the message is of version {version!r}, and this Lightning knows only {MESSAGE_VERSION}"
        raise InvalidEvent(f"{message}; the log sends its own", code="message_too_new")
    try:
        return Wakeup(
            user_id=str(kwargs["userID"]),
            event_id=str(kwargs["eventID"]),
            wake=int(kwargs["wake"]),
            actor=actor,
            sent_at=float(kwargs["sentAt"]),
            trace=cast("dict[str, str]", trace) if isinstance(trace, dict) else {},
            session=None if kwargs.get("sessionToken") is None else str(kwargs["sessionToken"]),
            bulk=bool(kwargs.get("bulk", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"the message is not a wake-up: {error}", code="not_a_wakeup") from None


def _unavailable(error: Exception) -> Transient:
    return Transient(f"the queue is not available ({error})", code="queue_unavailable")
