"""A git server on loopback: git's own `http-backend` behind HTTP, as Apache would run it."""

import base64
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from tests.contract.repository_kits import git


class GitServer:
    """Serves the repositories of a folder.

    Parameters:
      folder: The folder; a repository `notes.git` is made in it.
      login: What is asked for; None for nothing.
    """

    def __init__(self, folder: Path, login: tuple[str, str] | None = None) -> None:
        self.folder = folder
        self.login = login
        #: Where every request is redirected to.
        self.redirect: str | None = None
        #: Whether it hangs up on every request without an answer.
        self.away = False
        #: The requests that changed something.
        self.pushes: list[str] = []
        #: What the hosts of requests were.
        self.hosts: set[str] = set()
        git("init", "-q", "--bare", "-b", "trunk", "notes.git", cwd=folder)
        git("config", "http.receivepack", "true", cwd=folder / "notes.git")
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/notes.git"
        self._thread = threading.Thread(target=self._http.serve_forever, name="git", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(60)

    def commit(self, name: str, text: str, **more: str) -> str:
        """Push a file, as a person does who works there."""
        clone = self.folder / f"clone-{len(list(self.folder.iterdir()))}"
        git("clone", "-q", str(self.folder / "notes.git"), str(clone), cwd=self.folder)
        (clone / name).write_text(text)
        git("add", ".", cwd=clone)
        git("commit", "-qm", more.get("message", f"write {name}"), cwd=clone)
        git("push", "-q", "origin", "HEAD:refs/heads/trunk", cwd=clone)
        return git("rev-parse", "HEAD", cwd=clone).strip()

    def log(self) -> list[str]:
        """Give the subjects of the history, newest first."""
        return git("log", "--format=%s", "trunk", cwd=self.folder / "notes.git").splitlines()

    def lets_in(self, authorization: str | None) -> bool:
        """Tell whether a request shows who it is from, where that is asked for."""
        if self.login is None:
            return True
        return authorization == f"Basic {base64.b64encode(':'.join(self.login).encode()).decode()}"

    def _handler(self) -> type["_Handler"]:
        return type("Handler", (_Handler,), {"git": self})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    git: GitServer

    def do_GET(self) -> None:
        self.git.hosts.add(self.headers["host"])
        if self.git.away:
            self.close_connection = True
        elif self.git.redirect is not None:
            self.send_response(302)
            self.send_header("location", self.git.redirect + self.path)
            self.end_headers()
        elif not self.git.lets_in(self.headers["authorization"]):
            self.send_response(401)
            self.send_header("www-authenticate", 'Basic realm="git"')
            self.end_headers()
        else:
            self._answer()

    do_POST = do_GET  # noqa: N815 -- the name is that of the library

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self._body()
        if path.endswith("git-receive-pack"):
            self.git.pushes.append(path)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.git.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "REMOTE_USER": "somebody",
            "REMOTE_ADDR": "127.0.0.1",
        }
        command = ["git", "http-backend"]
        done = subprocess.run(
            command, input=body, env=environment, capture_output=True, timeout=100, check=True
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)
