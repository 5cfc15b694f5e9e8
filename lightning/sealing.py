"""Secrets of users at rest: encrypted by AES-256-GCM (NIST SP 800-38D), and bound to where they stand.

What is sealed for one place does not open in another, so that whoever can write to the store cannot move a
user's secret to where they may use it.
"""

import base64
import binascii
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lightning.errors import LightningError

_VERSION: Final = "v1."
_NONCE_BYTES: Final = 12
_PURPOSE: Final = b"lightning: secrets of users at rest"


class NoKey(LightningError):
    """There is no key that secrets could be encrypted with."""

    code = "no_secret_key"
    status = 503


class Unreadable(LightningError):
    """A secret was encrypted with a key that is not here any more, or for another place."""

    code = "unreadable_secret"
    status = 409


class Sealer:
    """Encrypts and decrypts.

    Parameters:
      key: The installation's key; None where it has none, and nothing can be sealed.
      previous: The key before it, which still opens.
    """

    def __init__(self, key: str | None, previous: str | None = None) -> None:
        self._ciphers = [AESGCM(_derived(each)) for each in (key, previous) if each is not None]
        self._can_seal = key is not None

    def seal(self, secret: str, place: str) -> str:
        """Encrypt a secret.

        Parameters:
          secret: Any text.
          place: Where it is going to stand.

        Raises:
          NoKey: There is no key.
        """
        if not self._can_seal:
            raise NoKey("secrets of users cannot be kept: whoever runs this sets LIGHTNING_SECRET_KEY first")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, secret.encode(), place.encode())
        return _VERSION + base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, sealed: str, place: str) -> str:
        """Decrypt a secret.

        Raises:
          Unreadable: No key of ours opens it in this place.
        """
        try:
            raw = base64.urlsafe_b64decode(sealed.removeprefix(_VERSION))
        except (binascii.Error, ValueError):
            raw = b""
        for cipher in self._ciphers if len(raw) > _NONCE_BYTES else ():
            try:
                return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode()).decode()
            except InvalidTag:
                continue
        raise Unreadable("the secret was encrypted with a key that is not here any more; give it again")


def _derived(key: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(key.encode())
