"""The run API for agents in Python, with the standard library alone; see CONTRACT.md."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

#: An ingress that restarts is waited for so long.
PATIENCE_SECONDS = 60.0

#: No answer takes longer: the longest is that to who waits for a message.
TIMEOUT_SECONDS = 30.0

#: A workspace may take so long on its way.
TRANSFER_SECONDS = 300.0

_CHUNK_BYTES = 256 * 1024

#: Answers after which the same request may be taken later.
_LATER = frozenset({429, 502, 503, 504})


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
        self._url = urlsplit(url)
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
        query = urlencode({"after": after, "wait": wait_seconds})
        return self._ask("GET", f"/run/messages?{query}")["messages"]

    def fetch_workspace(self, into: IO[bytes]) -> str:
        """Write the files of the task's repository into a file, as a tar.

        Returns:
          The commit that they are of.
        """
        from http.client import HTTPException  # noqa: PLC0415 -- slow to load, and lines come first

        def attempt() -> tuple[int, Any]:
            with self._connected(TRANSFER_SECONDS) as connection:
                connection.request("GET", self._path("/run/workspace"), headers=self._headers())
                response = connection.getresponse()
                if response.status != 200:
                    return response.status, _read(response)
                into.seek(0)
                into.truncate()
                while chunk := response.read(_CHUNK_BYTES):
                    into.write(chunk)
                if into.tell() != int(response.headers.get("content-length", "-1")):
                    raise HTTPException("the workspace was cut off")
                return response.status, response.headers["lightning-commit"]

        return self._repeat(attempt, self._patience_seconds + TRANSFER_SECONDS)

    def send_workspace(self, tar: IO[bytes]) -> dict[str, Any]:
        """Send all files of the workspace back, as a tar that gzip has compressed.

        Returns:
          ``commit``, which holds them, and ``created``.
        """

        def attempt() -> tuple[int, Any]:
            size = tar.seek(0, 2)
            tar.seek(0)
            about = {
                "content-type": "application/x-tar",
                "content-encoding": "gzip",
                "content-length": str(size),
            }
            with self._connected(TRANSFER_SECONDS) as connection:
                # who refuses it may not read all of it before
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request("PUT", self._path("/run/workspace"), tar, {**self._headers(), **about})
                response = connection.getresponse()
                return response.status, _read(response)

        return self._repeat(attempt, self._patience_seconds + TRANSFER_SECONDS)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._repeat(lambda: self._send(method, path, body), self._patience_seconds)

    def _repeat(self, attempt: Callable[[], tuple[int, Any]], patience_seconds: float) -> Any:
        from http.client import HTTPException  # noqa: PLC0415 -- slow to load, and lines come first

        deadline = time.monotonic() + patience_seconds
        pause = 0.1
        while True:
            try:
                status, answer = attempt()
            except (OSError, HTTPException) as error:
                refused = RunApiError(f"the platform is not there: {error}")
            else:
                if status < 400:
                    return answer
                detail = str(answer.get("detail", "no reason was given"))
                refused = RunApiError(detail, status=status, code=answer.get("code"))
                if status not in _LATER:
                    raise refused
            if time.monotonic() + pause > deadline:
                raise refused
            time.sleep(pause)
            pause = min(pause * 2, 5.0)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        headers = {**self._headers(), "content-type": "application/json"}
        with self._connected(TIMEOUT_SECONDS) as connection:
            sent = None if body is None else json.dumps(body)
            connection.request(method, self._path(path), sent, headers)
            response = connection.getresponse()
            return response.status, _read(response)

    def _connected(self, timeout_seconds: float) -> "closing[HTTPConnection]":
        from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415 -- as above

        kind = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        return closing(kind(self._url.netloc, timeout=timeout_seconds))

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    def _path(self, path: str) -> str:
        return self._url.path.rstrip("/") + path


def _read(response: "HTTPResponse") -> Any:
    """Read an answer in JSON; another one says nothing."""
    text = response.read()
    try:
        return json.loads(text)
    except ValueError:
        return {}
