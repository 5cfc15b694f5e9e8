"""Chainlit's page, as it is served here: nothing in it refers to another host."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Final

_ELSEWHERE: Final = re.compile(r"<(?:link|meta)\b[^>]*https?://[^>]*>", re.DOTALL)
_INLINE_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)

#: Styles are set by scripts of the page, which has no other way to say so than this.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def without_other_hosts(page: str) -> str:
    """Leave out what would be fetched from elsewhere: fonts, and a style of formulas, which are not shown."""
    return _ELSEWHERE.sub("", page)


def headers_of(page: str) -> Mapping[str, str]:
    """Give the headers of a page: of scripts that stand in it, only these may run."""
    scripts = (hashlib.sha256(text.encode()).digest() for text in _INLINE_SCRIPT.findall(page))
    hashes = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in scripts)
    return {
        "content-security-policy": _POLICY.format(scripts=hashes),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }
