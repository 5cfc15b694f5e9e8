"""The ingress as an ASGI application: the route table, and the parts behind it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from api import events, identity, problems, stream, stream_token, system, websocket
from api.operation import Operation, WebSocketOperation
from api.platform import Platform
from api.streams import Streams
from api.tracing import TraceRequests
from brokers import BrokerQueue, open_broker
from lightning.crash import crash_at
from lightning.domain.accounts import Accounts
from lightning.domain.tokens import TokenIssuer
from lightning.errors import LightningError
from lightning.keys import secret
from lightning.live import Hub, poll
from lightning.log import Dispatch, EventLog
from lightning.settings import Settings
from lightning.storage import open_storage

#: Every route; the tests of tenancy and the documentation read this table.
ROUTES: Sequence[Operation] = (
    *identity.ROUTES,
    *events.ROUTES,
    *stream.ROUTES,
    *stream_token.ROUTES,
    *system.ROUTES,
)

#: Every path that speaks WebSocket, read likewise.
WEBSOCKETS: Sequence[WebSocketOperation] = websocket.WEBSOCKETS


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
        hub = Hub()
        streams = Streams(hub, settings.streams_per_user)
        app.state.platform = Platform(
            settings=settings,
            log=log,
            dispatch=Dispatch(log, queue, crash=crash),
            queue=queue,
            accounts=Accounts(storage),
            tokens=TokenIssuer(
                secret(settings.jwt_signing_key, "JWT_SIGNING_KEY"),
                secret(settings.jwt_signing_key_previous),
            ),
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

    return Starlette(
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
