"""Keeps secrets out of what people and disks get to see."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final, cast
from urllib.parse import quote

import orjson

REDACTED: Final = "[redacted]"

#: A shorter "secret" would also hide ordinary words.
MIN_SECRET_LENGTH: Final = 8

#: What is nested deeper, or contains itself, is treated as one text.
MAX_DEPTH: Final = 16

# Every alternative begins with a plain letter, and looks back only after it: then the expression
# skips at C speed to the places where one may begin, which makes it ten times faster.
_BEARER: Final = [rf"{scheme}\s+([A-Za-z0-9\-._~+/]+=*)" for scheme in ("Bearer", "bearer", "BEARER")]
# Not within a word (task-..., disk-...), yet after an escaped line break of quoted text.
_API_KEY: Final = r"sk-(?:(?<![A-Za-z0-9]sk-)|(?<=\\[nrt]sk-))[A-Za-z0-9_\-]{8,}"
_SHAPES: Final = re.compile("|".join([*_BEARER, _API_KEY]))

# A JWT; each word is looked at from its beginning alone, as a text may be nothing but such beginnings.
_WORD: Final = r"[A-Za-z0-9_\-]"
_JWT: Final = (
    rf"(?<!{_WORD})(?={_WORD}++\.eyJ{_WORD}++\.{_WORD}){_WORD}*?(eyJ{_WORD}++\.eyJ{_WORD}++\.{_WORD}++)"
)

#: Shapes that are rare, or begin as words often do: each is looked for only where its mark stands.
_RARE: Final = (
    ("eyJ", re.compile(_JWT)),
    ("whsec_", re.compile(r"whsec_[A-Za-z0-9+/=]{24,}")),
    # shorter words behind it are words
    *((word, re.compile(rf"{word}\s+([A-Za-z0-9\-_+/]{{16,}}=*)")) for word in ("Basic", "basic", "BASIC")),
)

# What every text holds in which one of these is found, also after it was encoded as JSON. Words are sought
# first, at the speed of memory.
_MARKS: Final = (b"Bearer", b"bearer", b"BEARER", b"sk-", *(mark.encode() for mark, _ in _RARE))
_MARKED: Final = re.compile(rb"sk-[A-Za-z0-9_\-]{8}|" + b"|".join(each for each in _MARKS if each != b"sk-"))

#: A byte in a URL, as `quote` writes it.
_ESCAPED: Final = re.compile("%[0-9A-F]{2}")


class Redactor:
    """Replaces secrets with ``[redacted]``, wherever they are nested.

    Registered values are found as they are, as they look when quoted for
    JSON (once or twice), for Python or for a URL, and in base64 wherever in a text they stood.
    Bearer tokens, basic credentials, signed tokens (JWT), secrets of webhooks and
    keys that begin with ``sk-`` are masked even if nobody registered them.

    Parameters:
      secrets: The values to hide; those under 8 characters are left alone.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        secrets = list(secrets)
        known = {form for secret in secrets if len(secret) >= MIN_SECRET_LENGTH for form in _forms(secret)}
        # The longest first: of two secrets, one may begin with the other.
        literals = [re.escape(form) for form in sorted(known, key=len, reverse=True)]
        self._known = re.compile("|".join(literals)) if literals else None
        # looked for one by one: texts so long are passed over in few steps, and as alternatives in many
        in_base64 = {
            form for secret in secrets if len(secret) >= MIN_SECRET_LENGTH for form in _in_base64(secret)
        }
        self._encoded = sorted(in_base64, key=len, reverse=True)
        self._shortest = min(map(len, in_base64), default=0)
        self._as_json = {
            orjson.dumps(form.encode(errors="replace").decode())[1:-1] for form in known | in_base64
        }

    def text(self, text: str) -> str:
        """Return ``text`` without its secrets."""
        if len(text) < MIN_SECRET_LENGTH:
            return text
        # Known values first, and whole: a shape may end in the midst of one.
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        if len(text) >= self._shortest:
            for form in self._encoded:
                if form in text:
                    text = text.replace(form, REDACTED)
        text = _SHAPES.sub(_mask, text)
        for mark, shape in _RARE:
            if mark in text:
                text = shape.sub(_mask, text)
        return text

    def suspects(self, encoded: bytes) -> bool:
        """Tell at a glance whether texts have to be looked through.

        Parameters:
          encoded: The texts as JSON in UTF-8.

        Returns:
          False only if :meth:`text` would leave each of them as it is.
        """
        if any(form in encoded for form in self._as_json):
            return True
        return any(mark in encoded for mark in _MARKS) and _MARKED.search(encoded) is not None

    def value(self, value: object, *, depth: int = MAX_DEPTH) -> object:
        """Return a copy of ``value`` without secrets, made of plain data only.

        Parameters:
          value: Anything. Keys and values of mappings, and the members of lists,
            tuples and sets, are visited; an object of another kind becomes its
            redacted ``repr``, since whoever prints it would print that.
          depth: Levels of nesting to visit; what lies deeper becomes its ``repr`` too.

        Returns:
          The copy.
        """
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth > 0 and isinstance(value, Mapping):
            entries = cast("Mapping[object, object]", value).items()
            return {self.text(str(key)): self.value(member, depth=depth - 1) for key, member in entries}
        if depth > 0 and isinstance(value, list | tuple | set | frozenset):
            return [self.value(member, depth=depth - 1) for member in cast("Iterable[object]", value)]
        return self.text(repr(value))


def _mask(match: re.Match[str]) -> str:
    """Replace a match, but for the name of a scheme."""
    if match.lastindex is None:
        return REDACTED
    return match.group()[: match.start(match.lastindex) - match.start()] + REDACTED


def _in_base64(secret: str) -> set[str]:
    """Return what base64 makes of a secret, whatever stands before and behind it."""
    found: set[str] = set()
    raw = secret.encode(errors="surrogateescape")
    for before in range(3):
        # characters that also depend on a neighbour are left out
        text = base64.b64encode(b"x" * before + raw)[-(-before * 4 // 3) :]
        inner = text[: len(text) - (4 if (before + len(raw)) % 3 else 0)].decode()
        if len(inner) >= MIN_SECRET_LENGTH:
            found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found


def _forms(secret: str) -> set[str]:
    """Return the spellings under which a secret may turn up in text."""
    in_json = _in_json(secret)
    in_urls = {quote(secret, safe=safe, errors="surrogateescape") for safe in ("", "/")}
    return {
        secret,
        repr(secret)[1:-1],
        *in_json,
        # as in a text within a document that is kept as a text itself
        *(twice for once in in_json for twice in _in_json(once)),
        *in_urls,
        # a URL may spell its hexadecimal digits either way
        *(_ESCAPED.sub(lambda found: found[0].lower(), form) for form in in_urls),
    }


def _in_json(text: str) -> set[str]:
    return {json.dumps(text, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
