"""The operations of an entity's ``$management`` node.

Source: Microsoft, "AMQP 1.0 in Azure Service Bus: request-response-based operations".
"""

from collections.abc import Callable
from functools import partial
from typing import cast
from uuid import UUID

from ops.emulators.servicebus.codec.values import Array, DecodeError, Described, Long
from ops.emulators.servicebus.entities.errors import EntityError, bad_argument, lock_lost, not_emulated
from ops.emulators.servicebus.entities.message import Message, milliseconds, swapped
from ops.emulators.servicebus.entities.namespace import Namespace
from ops.emulators.servicebus.entities.queue import Queue
from ops.emulators.servicebus.entities.topic import Topic
from ops.emulators.servicebus.faults import Faults
from ops.emulators.servicebus.nodes.requests import Request, RequestSink, Response
from ops.emulators.servicebus.nodes.striking import breaks, refusal
from ops.emulators.servicebus.wire.incoming import Delivery

VENDOR = "com.microsoft:"
#: Bytes of the messages of one peek; the rest comes with the next.
MAX_PEEK_BYTES = 200_000

Body = dict[str, object]
Operation = Callable[[Queue | Topic, Body], Response]


class Management:
    """Answers management requests.

    Parameters:
      namespace: The entities.
      faults: What is to go wrong.
      max_message_size: Bytes that a scheduled message may have.
    """

    def __init__(self, namespace: Namespace, faults: Faults, *, max_message_size: int) -> None:
        self._namespace = namespace
        self._faults = faults
        self._max_message_size = max_message_size
        self._operations: dict[str, Operation] = {
            "renew-lock": self._renew,
            "schedule-message": self._schedule,
            "cancel-scheduled-message": self._cancel,
            "peek-message": self._peek,
            "receive-by-sequence-number": self._receive_deferred,
            "update-disposition": self._dispose,
        }

    def __call__(self, node: RequestSink, delivery: Delivery, request: Request) -> None:
        """Answer a request, once what it changed is kept."""
        fault = self._faults.strike("manage", node.path)
        if fault is not None and fault.moment == "before" and breaks(fault, delivery.link):
            return
        try:
            if fault is not None and fault.moment == "before" and fault.kind != "lock-lost":
                raise refusal(fault, node.path)
            if fault is not None and fault.kind == "lock-lost":
                self._lose(node.path, request)
            response = self._perform(node.path, request)
        except EntityError as error:
            response = Response(error.status, error.description, error.condition)
        except (DecodeError, ValueError, TypeError, OverflowError) as error:
            response = Response(400, str(error), "com.microsoft:argument-error")
        if not breaks(fault, delivery.link):
            self._namespace.store.after_commit(partial(node.respond, request, response))

    def _perform(self, path: str, request: Request) -> Response:
        name = str(request.properties.get("operation", "")).removeprefix(VENDOR)
        operation = self._operations.get(name)
        if operation is None:
            raise not_emulated(f"the management operation '{name}'")
        if not isinstance(request.body, dict):
            raise bad_argument("the body of a management request is a map")
        body = {str(key): value for key, value in cast("dict[object, object]", request.body).items()}
        if body.get("session-id") is not None:
            raise not_emulated("sessions")
        return operation(self._namespace.managed(path), body)

    def _lose(self, path: str, request: Request) -> None:
        entity = self._namespace.managed(path)
        if isinstance(entity, Queue) and isinstance(request.body, dict):
            for token in _list(cast("Body", request.body), "lock-tokens"):
                entity.lose_lock(_token(token))

    def _renew(self, entity: Queue | Topic, body: Body) -> Response:
        queue = _queue(entity)
        tokens = [_token(token) for token in _list(body, "lock-tokens")]
        if not all(queue.is_locked(token) for token in tokens):
            raise lock_lost()
        expirations = tuple(milliseconds(queue.renew(token)) for token in tokens)
        return Response(200, body={"expirations": Array(expirations)})

    def _schedule(self, entity: Queue | Topic, body: Body) -> Response:
        messages = [Message(self._payload(item)) for item in _list(body, "messages")]
        for message in messages:
            if message.scheduled_at is None:
                raise bad_argument("a message to schedule needs x-opt-scheduled-enqueue-time")
        numbers = tuple(Long(number) for number in entity.accept(messages))
        return Response(200, body={"sequence-numbers": Array(numbers)})

    def _cancel(self, entity: Queue | Topic, body: Body) -> Response:
        entity.cancel_scheduled([_number(number) for number in _list(body, "sequence-numbers")])
        return Response(200, body={})

    def _peek(self, entity: Queue | Topic, body: Body) -> Response:
        start, count = _number(body.get("from-sequence-number")), _number(body.get("message-count"))
        if count < 1:
            raise bad_argument("message-count must be 1 or more")
        found: list[object] = []
        size = 0
        for message in entity.peek(start, count):
            encoded = message.encode_peeked()
            size += len(encoded)
            if found and size > MAX_PEEK_BYTES:
                break
            found.append({"message": encoded})
        if not found:
            return Response(204, "No Content", "com.microsoft:message-not-found")
        return Response(200, body={"messages": found})

    def _receive_deferred(self, entity: Queue | Topic, body: Body) -> Response:
        deletes = body.get("receiver-settle-mode") == 0
        numbers = [_number(number) for number in _list(body, "sequence-numbers")]
        found: list[object] = []
        for message in _queue(entity).receive_deferred(numbers, deletes=deletes):
            item: dict[object, object] = {"message": message.encode()}
            if message.lock is not None:
                item["lock-token"] = UUID(bytes=swapped(message.lock))
            found.append(item)
        return Response(200, body={"messages": found})

    def _dispose(self, entity: Queue | Topic, body: Body) -> Response:
        queue = _queue(entity)
        tokens = [_token(token) for token in _list(body, "lock-tokens")]
        if not all(queue.is_locked(token) for token in tokens):
            raise lock_lost()
        changes = body.get("properties-to-modify")
        properties = cast("dict[str, object]", changes) if isinstance(changes, dict) else {}
        for token in tokens:
            self._dispose_one(queue, token, body, properties)
        return Response(200, body={})

    def _dispose_one(self, queue: Queue, token: bytes, body: Body, changes: dict[str, object]) -> None:
        status = body.get("disposition-status")
        if status == "completed":
            queue.complete(token)
        elif status == "abandoned":
            queue.abandon(token, changes)
        elif status == "defered":  # as the service spells it
            queue.defer(token, changes)
        elif status == "suspended":
            reason, description = body.get("deadletter-reason"), body.get("deadletter-description")
            queue.dead_letter(token, _text(reason), _text(description), changes)
        else:
            raise bad_argument(f"{status!r} is no disposition-status")

    def _payload(self, item: object) -> bytes:
        payload = cast("Body", item).get("message") if isinstance(item, dict) else None
        if not isinstance(payload, bytes):
            raise bad_argument("a message to schedule is binary")
        if len(payload) > self._max_message_size:
            raise EntityError(
                "amqp:link:message-size-exceeded",
                f"The message of {len(payload)} bytes exceeds the limit of {self._max_message_size} bytes.",
                400,
            )
        return payload


def _queue(entity: Queue | Topic) -> Queue:
    if isinstance(entity, Topic):
        raise EntityError(
            "amqp:not-allowed", f"'{entity.name}' is a topic: receive from a subscription.", 400
        )
    return entity


def _list(body: Body, name: str) -> list[object]:
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise bad_argument(f"{name} must be a list of at least one")
    return cast("list[object]", value)


def _token(value: object) -> bytes:
    if not isinstance(value, UUID):
        raise bad_argument("a lock token is a UUID")
    return value.bytes_le


def _number(value: object) -> int:
    if isinstance(value, Described) or not isinstance(value, int):
        raise bad_argument("a sequence number or a count is a number")
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
