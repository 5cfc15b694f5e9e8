"""The parts of the platform that the ingress works with."""

from dataclasses import dataclass

from api.metering import MeteredModel
from api.run_rates import RunRates
from api.run_spans import RunSpans
from api.searches import Searches
from api.streams import Streams
from api.transfers import Transfers
from lightning.crash import CrashPoint
from lightning.domain.accounts import Accounts
from lightning.domain.approvals import Approvals
from lightning.domain.conversations import Conversations
from lightning.domain.deliveries import Deliveries
from lightning.domain.handover import Handover
from lightning.domain.identity import Identity
from lightning.domain.repositories import Repositories
from lightning.domain.run_reports import RunReports
from lightning.domain.run_tokens import RunTokens
from lightning.domain.runs import Runs
from lightning.domain.schedules import Schedules
from lightning.domain.tokens import TokenIssuer
from lightning.domain.webhook_health import WebhookHealth
from lightning.domain.webhooks import Webhooks
from lightning.live import Hub
from lightning.log import Dispatch, EventLog
from lightning.queue import Queue
from lightning.settings import Settings
from lightning.telemetry.spans import SpanStore
from lightning.trail import Trail


@dataclass(slots=True)
class Platform:
    """Everything that a route may use; made once for a process.

    Parameters:
      crash: Told of the points at which a test may kill the process.
      stopping: Set when the process drains, so that streams end.
    """

    settings: Settings
    log: EventLog
    dispatch: Dispatch
    queue: Queue
    identity: Identity
    accounts: Accounts
    tokens: TokenIssuer
    conversations: Conversations
    approvals: Approvals
    trail: Trail
    runs: Runs
    run_tokens: RunTokens
    run_rates: RunRates
    run_reports: RunReports
    models: MeteredModel
    run_spans: RunSpans
    spans: SpanStore
    webhooks: Webhooks
    webhook_health: WebhookHealth
    deliveries: Deliveries
    repositories: Repositories
    schedules: Schedules
    handover: Handover
    hub: Hub
    streams: Streams
    notify_secret: str
    transfers: Transfers
    searches: Searches
    crash: CrashPoint
    stopping: bool = False
