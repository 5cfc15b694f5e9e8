"""The ingress as an ASGI application: the route table, and the parts behind it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial

from starlette.applications import Starlette
from starlette.middleware import Middleware

from api import (
    approvals,
    audit,
    conversations,
    docs,
    event_tree,
    events,
    identity,
    problems,
    repo_files,
    repo_history,
    repos,
    run_api,
    run_revert,
    runs,
    schedule_fires,
    schedules,
    service_tokens,
    sessions,
    stream,
    stream_token,
    system,
    webhooks,
    websocket,
)
from api.dashboard import app as dashboard
from api.metering import MeteredModel
from api.operation import Operation, WebSocketOperation
from api.platform import Platform
from api.run_rates import RunRates
from api.run_spans import RunSpans
from api.searches import Searches
from api.streams import Streams
from api.tracing import TraceRequests
from api.transfers import Transfers
from brokers import BrokerQueue, open_broker
from lightning.crash import crash_at
from lightning.domain.accounts import Accounts
from lightning.domain.approvals import Approvals
from lightning.domain.budgets import open_budgets
from lightning.domain.conversations import Conversations
from lightning.domain.deliveries import Deliveries
from lightning.domain.handover import Handover
from lightning.domain.identity import Identity
from lightning.domain.passwords import BCRYPT_ROUNDS
from lightning.domain.repositories import open_repositories
from lightning.domain.run_reports import RunReports
from lightning.domain.run_tokens import RunTokens
from lightning.domain.runs import Runs
from lightning.domain.schedules import Schedules
from lightning.domain.tokens import TokenIssuer
from lightning.domain.webhook_health import WebhookHealth
from lightning.domain.webhooks import Webhooks
from lightning.keys import secret
from lightning.live import Hub, poll
from lightning.llm.chosen import LateModel, open_chosen
from lightning.log import Dispatch, EventLog
from lightning.outbound import Guard
from lightning.settings import Settings
from lightning.storage import open_storage
from lightning.telemetry.redaction import Redactor
from lightning.telemetry.spans import SpanStore
from lightning.trail import Trail

#: Every route; the tests of tenancy and the documentation read this table.
ROUTES: Sequence[Operation] = (
    *identity.ROUTES,
    *sessions.ROUTES,
    *service_tokens.ROUTES,
    *events.ROUTES,
    *event_tree.ROUTES,
    *conversations.ROUTES,
    *approvals.ROUTES,
    *audit.ROUTES,
    *runs.ROUTES,
    *run_revert.ROUTES,
    *run_api.ROUTES,
    *stream.ROUTES,
    *stream_token.ROUTES,
    *webhooks.ROUTES,
    *repos.ROUTES,
    *repo_files.ROUTES,
    *repo_history.ROUTES,
    *schedules.ROUTES,
    *schedule_fires.ROUTES,
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


def create_app(settings: Settings, *, bcrypt_rounds: int = BCRYPT_ROUNDS) -> Starlette:
    """Make the application; its parts are opened when it starts and closed when it stops.

    Parameters:
      settings: With the keys that the processes share (`lightning.keys`).
      bcrypt_rounds: What hashing a password costs; less than by default only in tests.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        storage = open_storage(settings)
        crash = crash_at(settings.crash_at, settings.data, "web")
        broker = open_broker(settings, crash=crash)
        queue = BrokerQueue(broker, settings.servicebus_queue)
        log = EventLog(storage, sweep_seconds=settings.sweep_seconds, bulk_above=settings.bulk_above)
        dispatch = Dispatch(log, queue, crash=crash)
        tokens = _issuer(settings)
        people = Identity(storage, tokens, settings, rounds=bcrypt_rounds)
        accounts = Accounts(storage, rounds=bcrypt_rounds)
        its_runs = Runs(storage)
        its_approvals = Approvals(storage, log)
        run_spans = RunSpans(settings)
        spans = SpanStore(settings.data / "spans.db")
        model = LateModel(partial(open_chosen, settings, fits=False))
        allowed = settings.models if settings.llm != "echo" else ["echo", *settings.models]
        hub = Hub()
        streams = Streams(hub, people, settings.streams_per_user)
        app.state.platform = Platform(
            settings=settings,
            log=log,
            dispatch=dispatch,
            queue=queue,
            identity=people,
            accounts=accounts,
            tokens=tokens,
            conversations=Conversations(storage, log),
            approvals=its_approvals,
            trail=Trail(
                storage, log, settings.prices, Redactor(settings.secret_values()), its_approvals.standing
            ),
            runs=its_runs,
            run_reports=RunReports(storage),
            run_tokens=RunTokens(tokens, its_runs, log, accounts),
            run_rates=RunRates(settings.run_calls_per_second),
            run_spans=run_spans,
            spans=spans,
            models=MeteredModel(model, open_budgets(settings, storage), allowed),
            webhooks=Webhooks(storage, Guard.allowing(settings.webhook_allow)),
            webhook_health=WebhookHealth(storage),
            deliveries=Deliveries(storage, log),
            repositories=open_repositories(settings, storage),
            transfers=Transfers(),
            searches=Searches(),
            schedules=Schedules(storage, settings.schedules_per_user),
            handover=Handover(dispatch),
            hub=hub,
            streams=streams,
            notify_secret=secret(settings.notify_secret, "NOTIFY_SECRET"),
            crash=crash,
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
            await model.close()
            run_spans.close()
            spans.close()
            await queue.close()
            await asyncio.to_thread(broker.close)
            await storage.close()

    app = Starlette(
        # each route before the one that is meant is tried first, and events come by far the most often
        routes=[*sorted(ROUTES, key=lambda route: route not in events.ROUTES), *WEBSOCKETS],
        lifespan=lifespan,
        middleware=[Middleware(TraceRequests)],
        exception_handlers=problems.HANDLERS,
    )
    dashboard.mount_on(app)
    app.state.reference = docs.LateReference(_reference)
    return app


@cache
def _reference() -> docs.Reference:
    """Describe the routes once: it takes a moment, and they are the same for every application."""
    return docs.Reference([*ROUTES, *WEBSOCKETS])
