"""Files of a repository, for whom it belongs to."""

import re
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from api.chat import visit
from lightning.client import ClientError

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


async def download(request: Request) -> Response:
    """Give a file as it was in a commit, to be saved and never to be shown."""
    repo, commit, path = (str(request.path_params[name]) for name in ("repo", "commit", "path"))
    if not _COMMIT.fullmatch(commit):
        return PlainTextResponse("there is no such file", 404)
    try:
        content = await visit.client().read_file(repo, path, at=commit)
    except ClientError as error:
        return PlainTextResponse(str(error), error.status or 503)
    name = quote(path.rpartition("/")[2], safe="")
    return Response(
        content,
        media_type="application/octet-stream",
        headers={"content-disposition": f"attachment; filename*=UTF-8''{name}", "cache-control": "no-store"},
    )
