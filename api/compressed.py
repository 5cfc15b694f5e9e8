"""Bodies that come compressed (RFC 9110, section 8.4.1.3), and never more of one than may be read."""

import zlib
from typing import Final

from lightning.errors import InvalidRequest
from lightning.strict_json import TooLarge

#: Tells zlib that a stream is one of gzip (https://zlib.net/manual.html, inflateInit2).
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def expand(body: bytes, max_bytes: int) -> bytes:
    """Take a body out of gzip.

    Parameters:
      body: The body as it came.
      max_bytes: Its largest size without compression, inclusive; no more than that is ever made of it.

    Raises:
      TooLarge: It is larger.
      InvalidRequest: It is not gzip, was cut off, or something follows (``not_gzip``).
    """
    stream = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        expanded = stream.decompress(body, max_bytes + 1)
    except zlib.error:
        raise InvalidRequest("the body is not gzip", code="not_gzip") from None
    if len(expanded) > max_bytes:
        raise TooLarge(f"the body is over {max_bytes} bytes without compression")
    if not stream.eof or stream.unused_data:
        raise InvalidRequest("the body is not one whole stream of gzip", code="not_gzip")
    return expanded
