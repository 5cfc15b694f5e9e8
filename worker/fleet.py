"""The parts of a process that runs steps: worker and clock alike."""

import os
from dataclasses import dataclass
from functools import partial

from dramatiq import Middleware

from actors.actor import Actor, Retries
from actors.admission import Admission
from actors.chat import Chat, ChatTools, ToolLimits
from actors.chat_answers import ChatAnswers
from actors.eraser import Eraser
from actors.messenger import Messenger
from actors.places import Places
from actors.schedule_tick import ScheduleTick
from actors.step import Step
from actors.task_group import TaskGroup
from actors.task_joins import TaskJoins
from actors.task_looks import Looks
from actors.task_runner import TaskRunner
from actors.task_spec import RunApi
from actors.webhook import WebhookDelivery
from brokers import AnyBroker, BrokerQueue, open_broker
from lightning.containers import Runner
from lightning.containers.opening import open_runner
from lightning.crash import CrashPoint, crash_at
from lightning.domain.accounts import Accounts
from lightning.domain.approvals import Approvals
from lightning.domain.budgets import open_budgets
from lightning.domain.conversations import Conversations
from lightning.domain.deliveries import Deliveries
from lightning.domain.disabled import DisabledAccounts
from lightning.domain.handover import Handover
from lightning.domain.repositories import open_repositories
from lightning.domain.run_reports import RunReports
from lightning.domain.runs import Runs
from lightning.domain.schedules import Schedules
from lightning.domain.tokens import TokenIssuer
from lightning.domain.turns import Turns
from lightning.domain.webhook_health import WebhookHealth
from lightning.domain.webhooks import Webhooks
from lightning.ids import new_id
from lightning.keys import secret
from lightning.live import Notifier
from lightning.llm import LanguageModel, NoModel
from lightning.llm.chosen import open_chosen
from lightning.log import Dispatch, EventLog, Jumps
from lightning.outbound import Courier, Guard, Lanes, Outbound
from lightning.settings import Settings
from lightning.storage import Storage, open_storage
from lightning.tools import Parts
from worker.agent_home import IMAGE_AGENTS, compile_agents, sandbox_agents, sandbox_mounts


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a worker or the clock works with."""

    broker: AnyBroker
    queue: BrokerQueue
    storage: Storage
    log: EventLog
    dispatch: Dispatch
    step: Step
    admission: Admission
    model: LanguageModel
    notifier: Notifier
    runner: Runner
    task_runner: TaskRunner
    schedules: Schedules
    disabled: DisabledAccounts
    crash: CrashPoint

    async def close(self) -> None:
        """Let go of what belongs to the event loop, then of the rest."""
        await self.admission.close()
        await self.notifier.close()
        await self.model.close()
        await self.runner.close()
        await self.queue.close()
        await self.storage.close()


def open_fleet(settings: Settings, middleware: list[Middleware], process: str) -> Fleet:
    """Open the parts that the settings name.

    Parameters:
      settings: The settings.
      middleware: What the broker runs around each message, besides tracing.
      process: ``worker`` or ``clock``.
    """
    storage = open_storage(settings)
    crash = crash_at(settings.crash_at, settings.data, process)
    broker = open_broker(settings, middleware, crash=crash)
    queue = BrokerQueue(broker, settings.servicebus_queue)
    log = EventLog(
        storage,
        sweep_seconds=settings.sweep_seconds,
        jumps=Jumps(settings.claim_seconds),
        bulk_above=settings.bulk_above,
    )
    dispatch = Dispatch(log, queue, crash=crash)
    model = NoModel(settings.llm, settings.openai_model) if process == "clock" else open_chosen(settings)
    notifier = Notifier(settings.notify_url, secret(settings.notify_secret, "NOTIFY_SECRET"), log.session)
    conversations = Conversations(storage, log)
    webhooks = Webhooks(storage, Guard.allowing(settings.webhook_allow))
    compile_agents()
    schedules = Schedules(storage, settings.schedules_per_user)
    disabled = DisabledAccounts(Accounts(storage))
    runner = open_runner(settings, mounts=sandbox_mounts(), crash=crash)
    task_runner = _task_runner(settings, storage, runner, dispatch, notifier, crash)
    actors: dict[str, Actor] = {
        "chat": Chat(
            log,
            model,
            conversations,
            _chat_tools(settings, storage, log, dispatch, schedules),
            notifier=notifier,
            context_tokens=settings.context_tokens,
            budgets=open_budgets(settings, storage),
            crash=crash,
        ),
        "eraser": Eraser(conversations),
        "schedule_tick": ScheduleTick(schedules, log, dispatch, disabled),
        "messenger": Messenger(notifier, webhooks, TaskJoins(log, dispatch), ChatAnswers(Turns(storage))),
        "task_group": TaskGroup(log, dispatch, Runs(storage), open_budgets(settings, storage), crash=crash),
        "task_runner": task_runner,
        "webhook": _webhook_delivery(settings, storage, log, webhooks),
    }
    step = Step(
        log,
        dispatch,
        actors,
        owner=f"{os.getpid()}-{new_id()}",
        claim_seconds=settings.claim_seconds,
        max_attempts=settings.max_attempts,
        backoff_seconds=settings.retry_seconds,
        crash=crash,
    )
    admission = Admission(step, log, dispatch, {"chat": _chat_places(settings)})
    return Fleet(
        broker,
        queue,
        storage,
        log,
        dispatch,
        step,
        admission,
        model,
        notifier,
        runner,
        task_runner,
        schedules,
        disabled,
        crash,
    )


def _task_runner(
    settings: Settings,
    storage: Storage,
    runner: Runner,
    dispatch: Dispatch,
    notifier: Notifier,
    crash: CrashPoint,
) -> TaskRunner:
    build = partial(
        TaskRunner,
        Runs(storage),
        RunReports(storage),
        runner,
        api=_run_api(settings, runner),
        notifier=notifier,
        budgets=open_budgets(settings, storage),
        repositories=open_repositories(settings, storage),
        crash=crash,
    )
    if settings.runner == "aci":
        # each look is a request to Azure, which counts them, and takes seconds to start anything
        looks = Looks(first_seconds=1.0, most_seconds=10.0, patience_seconds=0)
        return build(IMAGE_AGENTS, dispatch.follow_ended, looks=looks)
    return build(sandbox_agents(), dispatch.follow_ended, room=settings.runs)


def _run_api(settings: Settings, runner: Runner) -> RunApi | None:
    url = runner.api_url or settings.public_url
    if url is None:
        return None
    issuer = TokenIssuer(secret(settings.jwt_signing_key, "JWT_SIGNING_KEY"))
    return RunApi(issuer, url, settings.run_api_socket)


def _chat_tools(
    settings: Settings, storage: Storage, log: EventLog, dispatch: Dispatch, schedules: Schedules
) -> ChatTools:
    return ChatTools(
        Turns(storage),
        Approvals(storage, log),
        Parts(open_repositories(settings, storage), Runs(storage), schedules, Handover(dispatch)),
        ToolLimits(settings.turn_replies, settings.approval_seconds),
    )


def _chat_places(settings: Settings) -> Places:
    return Places(settings.threads, settings.chats_per_user or max(1, settings.threads * 3 // 4))


def _webhook_delivery(
    settings: Settings, storage: Storage, log: EventLog, webhooks: Webhooks
) -> WebhookDelivery:
    waits = tuple(float(wait) for wait in settings.webhook_retries.split(","))
    guard = Guard.allowing(settings.webhook_allow)
    return WebhookDelivery(
        log,
        webhooks,
        WebhookHealth(storage, first_pause_seconds=waits[0]),
        Deliveries(storage, log),
        Courier(Outbound(guard, timeout_seconds=settings.webhook_timeout_seconds)),
        Lanes(settings.webhook_threads),
        Retries(len(waits) + 1, waits),
    )
