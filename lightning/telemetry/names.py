"""Every span name and attribute that Lightning writes; no other file spells one out.

The Azure Monitor exporter drops ``messaging.*``, ``http.*``, ``server.*`` and
``error.type`` from what an operator can query, so whatever operators need is
written a second time as ``lightning.*``.
"""

from typing import Final

# Span names: each is followed by a space and what it acts on, as in `process default`.

SEND: Final = "send"
PROCESS: Final = "process"
CHAT: Final = "chat"
RUN: Final = "run"
INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"
FIRE: Final = "fire schedule"  # alone: what follows from it is told by `lightning.schedule`
POST: Final = "POST"  # alone: the address of a webhook holds secrets

# Lightning's own attributes.

EVENT: Final = "lightning.event"
USER: Final = "lightning.user"
TYPE: Final = "lightning.type"
ACTOR: Final = "lightning.actor"
QUEUE: Final = "lightning.queue"
MESSAGE_ID: Final = "lightning.message_id"
ATTEMPT: Final = "lightning.attempt"
RUN_ID: Final = "lightning.run_id"
RUN_STATUS: Final = "lightning.run.status"
RUN_REASON: Final = "lightning.run.reason"
RUN_WAITED: Final = "lightning.run.waited_seconds"
RUN_START: Final = "lightning.run.start_seconds"
RUN_RAN: Final = "lightning.run.ran_seconds"
AGENT: Final = "lightning.agent"
WEBHOOK: Final = "lightning.webhook"
SCHEDULE: Final = "lightning.schedule"
SCHEDULE_DRIFT: Final = "lightning.schedule.drift"
SCHEDULE_TICKS: Final = "lightning.schedule.ticks"
SCHEDULE_MISSED: Final = "lightning.schedule.missed"
SCHEDULE_CAUGHT_UP: Final = "lightning.schedule.caught_up"
ERROR_CODE: Final = "lightning.error_code"
SKIPPED: Final = "lightning.skipped"
USAGE_ESTIMATED: Final = "lightning.usage_estimated"

# Lightning's own metrics.

STEP_DURATION: Final = "lightning.step.duration"
EVENT_ATTEMPTS: Final = "lightning.event.attempts"
EVENTS_DEAD: Final = "lightning.events.dead"
EVENTS_MOVED: Final = "lightning.events.moved"
STATE: Final = "lightning.state"
STATE_BEFORE: Final = "lightning.state.before"
AGENT_METRIC: Final = "lightning.agent.metric"
METRIC: Final = "lightning.metric"
UNIT: Final = "lightning.unit"
QUEUE_LAG: Final = "lightning.queue.lag"
QUEUE_DEPTH: Final = "lightning.queue.depth"
OUTCOME: Final = "lightning.outcome"
TELEMETRY_LOST: Final = "lightning.telemetry.lost"
TELEMETRY_WAITING: Final = "lightning.telemetry.waiting"
TELEMETRY_DESTINATION: Final = "lightning.telemetry.destination"

# OpenTelemetry semantic conventions: messaging.

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"

# OpenTelemetry semantic conventions: generative AI. Both names of the provider are
# in use: `gen_ai.system` by Application Insights, `gen_ai.provider.name` since 1.37.

GEN_AI_SYSTEM: Final = "gen_ai.system"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GEN_AI_CLIENT_TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 -- a metric
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 -- an attribute

# OpenTelemetry semantic conventions: HTTP, errors, and where the other side is.

HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
PEER_SERVICE: Final = "peer.service"  # the target that Application Insights shows
SERVICE_NAME: Final = "service.name"
SERVICE_INSTANCE_ID: Final = "service.instance.id"

# OpenTelemetry semantic conventions: exceptions in log records.

EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

# What Application Insights reads to draw its map and to tell the time in the queue.

AZ_NAMESPACE: Final = "az.namespace"
AZ_NAMESPACE_SERVICE_BUS: Final = "Microsoft.ServiceBus"
LINK_ENQUEUED_TIME: Final = "enqueuedTime"  # on the link, whole milliseconds since the epoch
CUSTOM_EVENT_NAME: Final = "microsoft.custom_event.name"  # makes a row of `customEvents` of a log record

# Log records: fields that say what attributes of spans say, and records that are events of their own.

LOG_ATTRIBUTES: Final = {
    "event_id": EVENT,
    "user": USER,
    "type": TYPE,
    "code": ERROR_CODE,
    "run": RUN_ID,
    "agent": AGENT,
    "run_status": RUN_STATUS,
    "run_reason": RUN_REASON,
    "waited_seconds": RUN_WAITED,
    "ran_seconds": RUN_RAN,
    "schedule": SCHEDULE,
    "slots": SCHEDULE_MISSED,
}
CUSTOM_EVENTS: Final = frozenset({"event_dead", "run_ended", "slots_missed"})

# OpenTelemetry semantic conventions: databases, and Azure Cosmos DB.

DB_COLLECTION_NAME: Final = "db.collection.name"
DB_OPERATION_NAME: Final = "db.operation.name"
COSMOS_REQUEST_CHARGE: Final = "azure.cosmosdb.client.operation.request_charge"
