"""The certificates that this process trusts."""

import ssl
from functools import cache

import httpcore2


@cache
def trusted() -> ssl.SSLContext:
    """Give what verifies servers by the authorities that the system trusts, or ``SSL_CERT_FILE`` names.

    It is read once a process and then shared: that takes longer than everything else about many a client.
    """
    return httpcore2.default_ssl_context()
