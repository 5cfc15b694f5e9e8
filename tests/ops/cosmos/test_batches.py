"""Transactional batches by the real SDK: everything, or nothing."""

import copy

import pytest
from azure.cosmos import exceptions

from tests.ops.cosmos.conftest import document, refused, token_of

MEGABYTE = 1024 * 1024


def failed_batch(container, *operations) -> list[int]:
    """Run a batch that fails. Gives the status of each operation."""
    with pytest.raises(exceptions.CosmosBatchOperationError) as caught:
        container.execute_item_batch(list(operations), partition_key="ada")
    return [response["statusCode"] for response in caught.value.operation_responses]


def ids(container, after=None) -> list[str]:
    """List the documents, as they are after a batch: the SDK does not keep its session token."""
    token = {} if after is None else {"session_token": token_of(after)}
    return sorted(item["id"] for item in container.read_all_items(**token))


def test_all_operations_of_a_batch_happen(container):
    # Given three documents
    etags = {name: container.create_item(document(name))["_etag"] for name in ("changed", "gone", "patched")}

    # When a batch has one operation of each kind
    operations = [
        ("create", (document("made"),)),
        ("upsert", (document("upserted"),)),
        ("replace", ("changed", document("changed", version=2)), {"if_match_etag": etags["changed"]}),
        ("patch", ("patched", [{"op": "set", "path": "/version", "value": 3}])),
        ("read", ("made",)),
        ("delete", ("gone",), {"if_match_etag": etags["gone"]}),
    ]
    results = container.execute_item_batch(operations, partition_key="ada")

    # Then each has its own result, and all are done
    assert [result["statusCode"] for result in results] == [201, 201, 200, 200, 200, 204]
    assert results[2]["eTag"] == results[2]["resourceBody"]["_etag"] != etags["changed"]
    assert results[4]["resourceBody"] == results[0]["resourceBody"]
    assert ids(container, results) == ["changed", "made", "patched", "upserted"]
    assert container.read_item("patched", "ada", session_token=token_of(results))["version"] == 3


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (("create", (document("there"),)), 409),
        (("replace", ("there", document("there")), {"if_match_etag": '"stale"'}), 412),
        (("replace", ("missing", document("missing"))), 404),
        (("delete", ("missing",)), 404),
        (("create", ({"id": "other", "userID": "bob"},)), 400),
    ],
)
def test_a_batch_of_which_one_operation_fails_does_nothing(container, emulator, operation, status):
    # Given a document
    before = container.create_item(document("there"))

    # When one operation in the middle fails
    first, last = ("create", (document("first"),)), ("delete", ("there",))
    # (the SDK empties the options of an operation, here a test's parameter)
    statuses = failed_batch(container, first, copy.deepcopy(operation), last)

    # Then the others failed with it, and nothing has changed
    assert statuses == [424, status, 424]
    emulator.clock.advance(1)  # old data would show nothing of the batch whatever it did
    assert list(container.read_all_items()) == [before]


def test_operations_see_those_before_them(container):
    results = container.execute_item_batch(
        [
            ("create", (document("one", version=1),)),
            ("replace", ("one", document("one", version=2))),
            ("delete", ("one",)),
            ("create", (document("one", version=3),)),
        ],
        partition_key="ada",
    )
    assert ids(container, results) == ["one"]
    assert container.read_item("one", "ada", session_token=token_of(results))["version"] == 3
    assert failed_batch(container, ("delete", ("one",)), ("read", ("one",))) == [424, 404]


def test_a_batch_frees_and_takes_unique_values(make_container):
    container = make_container(unique_key_policy={"uniqueKeys": [{"paths": ["/name"]}]})
    container.create_item(document("1", name="x"))
    swapped = [("replace", ("1", document("1", name="y"))), ("create", (document("2", name="x"),))]
    container.execute_item_batch(swapped, partition_key="ada")
    assert failed_batch(container, ("create", (document("3", name="y"),))) == [409]
    assert failed_batch(
        container, ("create", (document("3", name="z"),)), ("create", (document("4", name="z"),))
    ) == [424, 409]


def test_a_batch_has_a_hundred_operations_and_two_megabytes(container):
    hundred = [("create", (document(str(place)),)) for place in range(100)]
    results = container.execute_item_batch(hundred, partition_key="ada")
    more = [("upsert", (document(str(place)),)) for place in range(101)]
    refused(400, container.execute_item_batch, more, partition_key="ada")
    large = [("create", (document(f"large{place}", text="x" * MEGABYTE),)) for place in range(2)]
    refused(413, container.execute_item_batch, large, partition_key="ada")
    assert len(ids(container, results)) == 100


def test_a_batch_is_one_write_of_its_range(container):
    # Given the progress after one write
    def progress(response) -> int:
        return int(response.get_response_headers()["lsn"])

    before = progress(container.create_item(document("first")))

    # When three documents are written together, then it advances by one
    batch = [("create", (document(name),)) for name in "abc"]
    assert progress(container.execute_item_batch(batch, partition_key="ada")) == before + 1
