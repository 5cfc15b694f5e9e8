"""The ingress as an ASGI application: the route table, and the parts behind it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from api import (
    conversations,
    docs,
    events,
    identity,
    problems,
    service_tokens,
    sessions,
    stream,
    stream_token,
    system,
    webhooks,
    websocket,
)
from api.operation import Operation, WebSocketOperation
from api.platform import Platform
from api.streams import Streams
from api.tracing import TraceRequests
from brokers import BrokerQueue, open_broker
from lightning.crash import crash_at
from lightning.domain.conversations import Conversations
from lightning.domain.deliveries import Deliveries
from lightning.domain.identity import Identity
from lightning.domain.tokens import TokenIssuer
from lightning.domain.webhook_health import WebhookHealth
from lightning.domain.webhooks import Webhooks
from lightning.errors import LightningError
from lightning.keys import secret
from lightning.live import Hub, poll
from lightning.log import Dispatch, EventLog
from lightning.outbound import Guard
from lightning.settings import Settings
from lightning.storage import open_storage

#: Every route; the tests of tenancy and the documentation read this table.
ROUTES: Sequence[Operation] = (
    *identity.ROUTES,
    *sessions.ROUTES,
    *service_tokens.ROUTES,
    *events.ROUTES,
    *conversations.ROUTES,
    *stream.ROUTES,
    *stream_token.ROUTES,
    *webhooks.ROUTES,
    *system.ROUTES,
    *docs.ROUTES,
)

#: Every path that speaks WebSocket, read likewise.
WEBSOCKETS: Sequence[WebSocketOperation] = websocket.WEBSOCKETS


def _issuer(settings: Settings) -> TokenIssuer:
    return TokenIssuer(
        secret(settings.jwt_signing_key, "JWT_SIGNING_KEY"),
        secret(settings.jwt_signing_key_previous),
        lifetime_seconds=settings.token_seconds,
    )


def create_app(settings: Settings) -> Starlette:
    """Make the application; its parts are opened when it starts and closed when it stops.

    Parameters:
      settings: With the keys that the processes share (`lightning.keys`).
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        storage = open_storage(settings)
        crash = crash_at(settings.crash_at, settings.data, "web")
        broker = open_broker(settings, crash=crash)
        queue = BrokerQueue(broker, settings.servicebus_queue)
        log = EventLog(storage, sweep_seconds=settings.sweep_seconds)
        tokens = _issuer(settings)
        people = Identity(storage, tokens, settings)
        hub = Hub()
        streams = Streams(hub, people, settings.streams_per_user)
        app.state.platform = Platform(
            settings=settings,
            log=log,
            dispatch=Dispatch(log, queue, crash=crash),
            queue=queue,
            identity=people,
            tokens=tokens,
            conversations=Conversations(storage, log),
            webhooks=Webhooks(storage, Guard.allowing(settings.webhook_allow)),
            webhook_health=WebhookHealth(storage),
            deliveries=Deliveries(storage, log),
            hub=hub,
            streams=streams,
            notify_secret=secret(settings.notify_secret, "NOTIFY_SECRET"),
        )
        watching = [
            asyncio.create_task(poll(hub, log, settings.stream_repair_seconds)),
            asyncio.create_task(streams.watch()),
        ]
        try:
            yield
        finally:
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)
            await queue.close()
            await asyncio.to_thread(broker.close)
            await storage.close()

    app = Starlette(
        routes=[*ROUTES, *WEBSOCKETS],
        lifespan=lifespan,
        middleware=[Middleware(TraceRequests)],
        exception_handlers={
            LightningError: problems.from_lightning_error,
            404: problems.from_http_exception,
            405: problems.from_http_exception,
            400: problems.from_http_exception,
            500: problems.from_unexpected,
        },
    )
    app.state.reference = docs.Reference([*ROUTES, *WEBSOCKETS])
    return app
