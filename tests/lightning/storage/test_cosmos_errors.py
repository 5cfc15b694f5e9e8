"""What a refusal of Cosmos DB means: a matter of time, or of an operator."""

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.cosmos.exceptions import CosmosHttpResponseError

from lightning.errors import StoreMisconfigured, Transient
from lightning.storage.cosmos_errors import failure


def refusal(status: int, sub_status: int = 0) -> CosmosHttpResponseError:
    return CosmosHttpResponseError(status_code=status, message="no", sub_status=sub_status)


@pytest.mark.parametrize(
    "error",
    [
        refusal(401),
        refusal(403),
        refusal(403, 5300),  # the identity has no role
        refusal(404),
        ClientAuthenticationError("no credential is there"),
    ],
    ids=["401", "403", "403-5300", "404", "no-token"],
)
def test_what_an_operator_has_to_mend_is_told_apart(error):
    found = failure(error, address="https://x")
    assert isinstance(found, StoreMisconfigured)
    # workers wait, as in an outage
    assert (found.code, found.retry_after) == ("store_unavailable", 1)


@pytest.mark.parametrize(
    "error",
    [refusal(403, 3), refusal(403, 1008), refusal(404, 1002), refusal(408), refusal(429), refusal(503)],
    ids=lambda error: f"{error.status_code}-{error.sub_status}",
)
def test_what_is_a_matter_of_time_is_not(error):
    assert type(failure(error, address="https://x")) is Transient
