"""The run API for agents in Python, with the standard library alone; see CONTRACT.md."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence

from agents.http import HttpError, Response, request

TYPE_CHECKING = False  # `typing` takes long to load
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import IO, Any

#: An ingress that restarts is waited for so long.
PATIENCE_SECONDS = 60.0

#: No answer takes longer: the longest is that to who waits for a message.
TIMEOUT_SECONDS = 30.0

#: A workspace may take so long on its way.
TRANSFER_SECONDS = 300.0

#: A model may think for so long before it answers; the platform ends a call that takes longer.
MODEL_SECONDS = 930.0

#: A model that is away, or asked too often, is asked again for so many times as long as the platform.
_MODEL_PATIENCE = 5

#: Answers after which the same request may be taken later.
_LATER = frozenset({429, 502, 503, 504})

#: Codes of such answers that stay the same until an operator has done something.
_FINAL = frozenset({"model_quota_exhausted", "model_credentials_refused", "model_not_configured"})


class RunApiError(Exception):
    """The platform refused a request, or is not there.

    Parameters:
      message: What happened, for a person.
      status: The HTTP status; None when there was no answer.
      code: The platform's word for the case.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class RunApi:
    """What a run may ask of the platform.

    Every request is tried again while the platform is away, and says the same when it is taken twice.

    Parameters:
      url: ``LIGHTNING_API_URL``.
      token: ``LIGHTNING_RUN_TOKEN``.
      patience_seconds: So long it is tried again.
    """

    def __init__(self, url: str, token: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._patience_seconds = patience_seconds

    def task(self) -> dict[str, Any]:
        """Read what the run is for: ``id``, ``agent`` and ``input``."""
        return self._ask("GET", "/run/task")

    def progress(self, message: str, percent: float | None = None) -> None:
        """Say how far the run has come."""
        self._ask("POST", "/run/progress", {"message": message, "percent": percent})

    def metric(self, name: str, value: float, unit: str | None = None) -> None:
        """Say what the run has measured."""
        self._ask("POST", "/run/metrics", {"name": name, "value": value, "unit": unit})

    def result(self, output: Any, message: str | None = None) -> None:
        """Say what came of the run: any JSON, up to 64 KiB."""
        self._ask("POST", "/run/result", {"output": output, "message": message})

    def ask(self, question: str, options: Sequence[str] = (), *, key: str | None = None) -> str:
        """Ask the user something.

        Parameters:
          question: The question.
          options: Answers to choose from.
          key: The same question under it again, as after a restart of the agent, is asked once.

        Returns:
          The id of the question, which the answer names in ``questionID``.
        """
        import uuid  # noqa: PLC0415 -- seldom needed

        body = {"question": question, "options": list(options), "key": key or str(uuid.uuid4())}
        return self._ask("POST", "/run/questions", body)["id"]

    def messages(self, after: int = 0, *, wait_seconds: int = 0) -> list[dict[str, Any]]:
        """Read what the user has said to the run.

        Parameters:
          after: The ``number`` of the last one that is known.
          wait_seconds: Wait so long for one if there is none, 20 at most.
        """
        return self._ask("GET", f"/run/messages?after={after}&wait={wait_seconds}")["messages"]

    def models(self) -> list[str]:
        """List the language models that may be asked: first the usual one, or ``echo``, which is none."""
        return [each["id"] for each in self._ask("GET", "/v1/models")["data"]]

    def complete(self, asked: Mapping[str, Any], *, trace: str | None = None) -> dict[str, Any]:
        """Have a language model continue a conversation, within the budget of the task.

        Parameters:
          asked: A request of OpenAI's chat completions, not streamed.
          trace: The span that the call hangs below, as ``TRACEPARENT``.

        Returns:
          The chat completion.

        Raises:
          RunApiError: With the code ``budget_exhausted``, ``context_too_long`` or another one.
        """
        about = {} if trace is None else {"traceparent": trace}
        return self._repeat(
            lambda: self._send("POST", "/v1/chat/completions", asked, about, MODEL_SECONDS),
            self._patience_seconds * _MODEL_PATIENCE,
        )

    def start_tasks(self, tasks: Sequence[Mapping[str, Any]], *, key: str | None = None) -> list[str]:
        """Start tasks that are a part of this one; they go on side by side, with this run.

        Parameters:
          tasks: Each as the metadata of a `worker.task`.
          key: The same tasks again are started once, unless under another key.

        Returns:
          Their ids, for `join`.
        """
        return self._ask("POST", "/run/tasks", {"tasks": list(tasks), "key": key})["ids"]

    def start_group(self, group: Mapping[str, Any], *, key: str | None = None) -> str:
        """Start a group of tasks, of which one that fails has the others undone: see `start_tasks`."""
        return self._ask("POST", "/run/tasks", {"group": group, "key": key})["ids"][0]

    def subtask(self, id: str, *, wait_seconds: int = 0) -> dict[str, Any]:
        """Read what has become of a task or group that this run started: ``state``, ``result``.

        Parameters:
          id: Its id.
          wait_seconds: Wait so long for its end, 20 at most.
        """
        return self._ask("GET", f"/run/tasks/{id}?wait={wait_seconds}")

    def join(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Wait until all of some tasks or groups are over, and give their results, in the same order."""
        found: list[dict[str, Any]] = []
        for each in ids:
            while (shown := self.subtask(each, wait_seconds=20))["state"] == "accepted":
                pass
            found.append(shown["result"] or {"status": "failed", "message": "There is no result."})
        return found

    def fetch_workspace(self, into: IO[bytes]) -> str:
        """Write the files of the task's repository into a file, as a tar.

        Returns:
          The commit that they are of.
        """

        def attempt() -> tuple[int, Any]:
            with self._request("GET", "/run/workspace", timeout_seconds=TRANSFER_SECONDS) as response:
                if response.status != 200:
                    return response.status, _read(response)
                if "content-length" not in response.headers:
                    raise HttpError("nobody says how large the workspace is")
                into.seek(0)
                into.truncate()
                for piece in response:
                    into.write(piece)
                return response.status, response.headers["lightning-commit"]

        return self._repeat(attempt, self._patience_seconds + TRANSFER_SECONDS)

    def send_workspace(self, tar: IO[bytes]) -> dict[str, Any]:
        """Send all files of the workspace back, as a tar that gzip has compressed.

        Returns:
          ``commit``, which holds them, and ``created``.
        """

        def attempt() -> tuple[int, Any]:
            tar.seek(0)
            about = {"content-type": "application/x-tar", "content-encoding": "gzip"}
            with self._request("PUT", "/run/workspace", about, tar, TRANSFER_SECONDS) as response:
                return response.status, _read(response)

        return self._repeat(attempt, self._patience_seconds + TRANSFER_SECONDS)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._repeat(lambda: self._send(method, path, body), self._patience_seconds)

    def _repeat(self, attempt: Callable[[], tuple[int, Any]], patience_seconds: float) -> Any:
        deadline = time.monotonic() + patience_seconds
        pause = 0.1
        while True:
            try:
                status, answer = attempt()
            except OSError as error:
                refused = RunApiError(f"the platform is not there: {error}")
            else:
                if status < 400:
                    return answer
                detail = str(answer.get("detail", "no reason was given"))
                refused = RunApiError(detail, status=status, code=answer.get("code"))
                if status not in _LATER or refused.code in _FINAL:
                    raise refused
            if time.monotonic() + pause > deadline:
                raise refused
            time.sleep(pause)
            pause = min(pause * 2, 5.0)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        about: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body).encode()
        about = {"content-type": "application/json", **(about or {})}
        with self._request(method, path, about, sent, timeout_seconds) as response:
            return response.status, _read(response)

    def _request(
        self,
        method: str,
        path: str,
        about: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> AbstractContextManager[Response]:
        headers = {"authorization": f"Bearer {self._token}", **(about or {})}
        return request(method, self._url + path, headers, body, timeout_seconds=timeout_seconds)


def _read(response: Response) -> Any:
    """Read an answer in JSON; another one says nothing."""
    text = response.read()
    try:
        return json.loads(text)
    except ValueError:
        return {}
