"""The errors of the wire, with their status and substatus.

Source: "HTTP Status Codes for Azure Cosmos DB" (REST reference).
"""

#: The ``code`` of an error's body, by status.
CODES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    409: "Conflict",
    410: "Gone",
    412: "PreconditionFailed",
    413: "RequestEntityTooLarge",
    424: "FailedDependency",
    429: "429",
    449: "RetryWith",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}

CROSS_PARTITION_QUERY_NOT_SERVABLE = 1004
PARTITION_KEY_MISMATCH = 1001
COLLECTION_RID_MISMATCH = 1024
READ_SESSION_NOT_AVAILABLE = 1002
OWNER_NOT_FOUND = 1003
PARTITION_KEY_RANGE_GONE = 1002
AAD_NOT_AUTHORIZED = 5300
TOO_MANY_REQUESTS = 3200


class CosmosError(Exception):
    """An answer that is not success.

    Parameters:
      status: The HTTP status.
      message: What is wrong, for the body.
      substatus: The value of ``x-ms-substatus``.
      headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, *, substatus: int = 0, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.substatus = substatus
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, str]:
        """The JSON body."""
        return {"code": CODES[self.status], "message": self.message}


def outside_subset(what: str) -> CosmosError:
    """Refuse what this emulator does not do, by name, rather than answer wrongly."""
    return CosmosError(400, f"Outside the emulator's subset: {what}. See FIDELITY.md beside the emulator.")
