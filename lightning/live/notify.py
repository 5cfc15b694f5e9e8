"""Tells the ingress what it is to pass on to connected clients: one signed post at a time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import httpx2
import structlog
from standardwebhooks import Webhook

from lightning.ids import new_id
from lightning.live.frames import RunProgress, RunStage
from lightning.live.outbox import Outbox
from lightning.tls import trusted

_log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 5.0

#: Posts keep a distance as long as the one before took, within these bounds, so that a busy platform does
#: not spend itself on them; what comes up meanwhile goes together. The first goes at once.
MIN_PAUSE_SECONDS = 0.01
MAX_PAUSE_SECONDS = 0.05


class Notifier:
    """Posts notifications, everything that came up during one post in the next.

    Best effort: readers also look by themselves now and then, and the recorded
    response supersedes its deltas.

    Parameters:
      url: Where to post; None tells nobody.
      secret: The Standard Webhooks secret that both sides know (``whsec_...``).
      session: Gives the token with which the receiver reads at least what is known here.
    """

    def __init__(
        self, url: str | None, secret: str, session: Callable[[], str | None] = lambda: None
    ) -> None:
        self._url = url
        self._session = session
        self._webhook = Webhook(secret)
        self._outbox = Outbox()
        self._under_way: set[str] = set()
        self._posted = asyncio.Event()
        self._posting: asyncio.Task[None] | None = None
        # made here, since loading certificates takes a while; no redirects, and no proxy of the environment
        self._client = httpx2.AsyncClient(verify=trusted(), timeout=TIMEOUT_SECONDS, trust_env=False)

    @property
    def dropped(self) -> int:
        """How often deltas gave way to newer ones since the start."""
        return self._outbox.dropped

    def notify(self, user_id: str, seq: int) -> None:
        """Say that a user's log has grown up to ``seq``; returns at once."""
        if self._url is not None:
            self._outbox.grown(user_id, seq)
            self._begin(self._url)

    def delta(
        self, user_id: str, event_id: str, conversation_id: str, attempt: int, offset: int, text: str
    ) -> None:
        """Pass on a piece of an answer; returns at once.

        Parameters:
          user_id: Who asked.
          event_id: The `llm.chat` that is being answered.
          conversation_id: Its conversation.
          attempt: Which attempt at the answer this is, replays included; a later one voids the earlier.
          offset: Unicode code points of the answer before this piece.
          text: The piece.
        """
        if self._url is not None:
            self._outbox.delta(user_id, event_id, conversation_id, attempt, offset, text)
            self._begin(self._url)

    def stage(self, user_id: str, stage: RunStage) -> None:
        """Pass on where a run stands; returns at once."""
        if self._url is not None:
            self._outbox.stage(user_id, stage)
            self._begin(self._url)

    def progress(self, user_id: str, progress: RunProgress) -> None:
        """Pass on how far a run has come; returns at once."""
        if self._url is not None:
            self._outbox.progress(user_id, progress)
            self._begin(self._url)

    def lines(self, user_id: str, run: str, task: str, offset: int, text: str) -> None:
        """Pass on what a run printed; returns at once.

        Parameters:
          user_id: Whose run.
          run: Its id.
          task: The `worker.task`.
          offset: Unicode code points of its log before this piece.
          text: The piece.
        """
        if self._url is not None:
            self._outbox.lines(user_id, run, task, offset, text)
            self._begin(self._url)

    async def delivered(self, key: str, *, timeout_seconds: float) -> None:
        """Wait until no text of an event that is answered, or of a run, is left to be told, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._outbox.holds(key) or key in self._under_way:
                    await self._posted.wait()

    def _begin(self, url: str) -> None:
        if self._posting is None:
            self._posting = asyncio.get_running_loop().create_task(self._post_all(url))

    async def _post_all(self, url: str) -> None:
        now = asyncio.get_running_loop().time
        try:
            while self._outbox:
                begun = now()
                body, self._under_way = self._outbox.take(self._session())
                await self._post(url, body.decode())
                self._under_way = set()
                self._posted.set()
                self._posted = asyncio.Event()
                await asyncio.sleep(min(max(now() - begun, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS))
        finally:
            self._posting = None

    async def _post(self, url: str, body: str) -> None:
        message_id, now = new_id(), datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, body),
        }
        try:
            answer = await self._client.post(url, content=body, headers=headers)
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            _log.debug("notification_failed", error=type(error).__name__)

    async def close(self) -> None:
        """Finish the notification under way and let go of the connection."""
        if self._posting is not None:
            await asyncio.wait({self._posting}, timeout=TIMEOUT_SECONDS)
        await self._client.aclose()
