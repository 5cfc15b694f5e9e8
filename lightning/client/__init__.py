"""The typed client of the HTTP API."""

from lightning.client.http import Client, ClientError

__all__ = ["Client", "ClientError"]
