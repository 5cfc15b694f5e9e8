"""Documents, one at a time, by the real SDK."""

import asyncio

import pytest
from azure.core import MatchConditions

from tests.ops.cosmos.conftest import document, refused, token_of

MEGABYTE = 1024 * 1024


async def test_a_document_comes_back_as_it_was_written_asynchronously_too(container, aio_container):
    # When a document is created by one SDK, and read by the other
    created = container.create_item(document(text="ü", list=[1, None, {"a": True}]))
    read = await aio_container.read_item("one", "ada", session_token=token_of(created))

    # Then it is the same, with the system's properties
    assert read == created
    assert read["text"] == "ü"
    assert {"_rid", "_self", "_etag", "_ts"} <= read.keys()


def test_creating_twice_is_a_conflict(container):
    container.create_item(document(version=1))
    refused(409, container.create_item, document(version=2))
    assert container.read_item("one", "ada")["version"] == 1


def test_what_is_not_there_is_not_found(container):
    refused(404, container.read_item, "one", "ada")
    refused(404, container.replace_item, "one", document())
    refused(404, container.delete_item, "one", "ada")
    refused(404, container.patch_item, "one", "ada", [{"op": "set", "path": "/a", "value": 1}])


@pytest.mark.parametrize("name", ["a b", "ü%41+&=;:,'\"", "a.b~c-(d)@!$*[]{}", "日本語", "x" * 255])
def test_any_id_finds_its_way(container, name):
    container.create_item(document(name, user=name))
    assert container.read_item(name, name)["id"] == name
    container.replace_item(name, document(name, user=name, version=2))
    container.delete_item(name, name)


async def test_of_those_who_write_at_once_on_one_etag_one_wins(container, aio_container):
    # Given a document, and writers that have all read it
    etag = container.create_item(document(wins=0))["_etag"]

    # When they write at once
    condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    answers = await asyncio.gather(
        *(aio_container.replace_item("one", document(writer=n), **condition) for n in range(20)),
        return_exceptions=True,
    )

    # Then one has succeeded, and what it wrote is there
    (winner,) = [answer for answer in answers if not isinstance(answer, Exception)]
    assert {answer.status_code for answer in answers if answer is not winner} == {412}
    assert container.read_item("one", "ada", session_token=token_of(winner))["writer"] == winner["writer"]


def test_a_partition_does_not_see_another(container):
    # Given the same id for two users
    container.create_item(document(user="ada", of="ada"))
    container.create_item(document(user="bob", of="bob"))

    # Then each reads its own, and nobody else's
    assert container.read_item("one", "bob")["of"] == "bob"
    container.delete_item("one", "bob")
    refused(404, container.read_item, "one", "bob")
    assert container.read_item("one", "ada")["of"] == "ada"


def test_upsert_creates_and_replaces(container):
    first = container.upsert_item(document(version=1))
    second = container.upsert_item(document(version=2))
    assert (first["_rid"], second["version"]) == (second["_rid"], 2)
    assert first["_etag"] != second["_etag"]


@pytest.mark.parametrize("change", ["replace", "upsert", "delete", "patch"])
def test_a_write_on_a_stale_etag_is_refused(container, change):
    # Given a document that has changed since it was read
    stale = container.create_item(document())["_etag"]
    fresh = container.replace_item("one", document(version=2))["_etag"]
    changes = {
        "replace": lambda **on: container.replace_item("one", document(version=3), **on),
        "upsert": lambda **on: container.upsert_item(document(version=3), **on),
        "delete": lambda **on: container.delete_item("one", "ada", **on),
        "patch": lambda **on: container.patch_item(
            "one", "ada", [{"op": "remove", "path": "/version"}], **on
        ),
    }

    # When it is written on the old etag, then it is refused; on the new one it is not
    condition = MatchConditions.IfNotModified
    refused(412, changes[change], etag=stale, match_condition=condition)
    assert container.read_item("one", "ada")["version"] == 2
    changes[change](etag=fresh, match_condition=condition)


def test_an_upsert_on_an_etag_creates_what_does_not_exist(container):
    condition = {"etag": '"any"', "match_condition": MatchConditions.IfNotModified}
    assert container.upsert_item(document(), **condition)["id"] == "one"


def test_a_read_of_what_is_known_is_not_answered_again(container):
    etag = container.create_item(document())["_etag"]
    same = container.read_item("one", "ada", etag=etag, match_condition=MatchConditions.IfModified)
    assert same == {}


@pytest.mark.parametrize(
    "body", [{"userID": "ada", "id": "x", "ttl": 0}, {"userID": "ada", "id": "a" * 1024}]
)
def test_an_invalid_document_is_refused(container, body):
    refused(400, container.create_item, body)


def test_numbers_that_would_lose_digits_are_refused(container):
    error = refused(400, container.create_item, document(nanoseconds=2**60))
    assert "2^53" in error.message


def test_a_document_over_two_megabytes_is_too_large(container):
    container.create_item(document("fits", text="x" * (MEGABYTE)))
    refused(413, container.create_item, document("large", text="x" * (2 * MEGABYTE)))
    refused(404, container.read_item, "large", "ada")


def test_patch_changes_parts(container):
    container.create_item(document(count=1, tags=["a"], gone=True))
    operations = [
        {"op": "incr", "path": "/count", "value": 2},
        {"op": "add", "path": "/tags/-", "value": "b"},
        {"op": "set", "path": "/new", "value": {"deep": 1}},
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/new/deep", "value": 2},
    ]
    patched = container.patch_item("one", "ada", operations)
    assert (patched["count"], patched["tags"], patched["new"]) == (3, ["a", "b"], {"deep": 2})
    assert "gone" not in patched


def test_a_patch_whose_condition_fails_changes_nothing(container):
    container.create_item(document(state="open"))
    operations = [{"op": "set", "path": "/state", "value": "closed"}]
    refused(
        412, container.patch_item, "one", "ada", operations, filter_predicate="FROM c WHERE c.state = 'x'"
    )
    container.patch_item("one", "ada", operations, filter_predicate="FROM c WHERE c.state = 'open'")
    assert container.read_item("one", "ada")["state"] == "closed"


def test_unique_keys_hold_within_a_partition(make_container):
    container = make_container(unique_key_policy={"uniqueKeys": [{"paths": ["/name"]}]})
    container.create_item(document("1", name="x"))
    refused(409, container.create_item, document("2", name="x"))
    container.create_item(document("2", user="bob", name="x"))

    # When the name is given up, then another may take it
    container.replace_item("1", document("1", name="y"))
    container.create_item(document("3", name="x"))
    container.delete_item("3", "ada")
    container.create_item(document("4", name="x"))

    # And a missing one counts as null, once
    container.create_item(document("5"))
    refused(409, container.create_item, document("6"))


def test_documents_expire(make_container, emulator):
    # Given a container whose documents live for a minute, but for one that lives for ever
    container = make_container(default_ttl=60)
    container.create_item(document("default"))
    container.create_item(document("long", ttl=600))
    container.create_item(document("ever", ttl=-1))

    # When time passes, then what has expired is gone, and its id is free
    emulator.clock.advance(61)
    refused(404, container.read_item, "default", "ada")
    assert [item["id"] for item in container.read_all_items()] == ["long", "ever"]
    container.create_item(document("default"))
    emulator.clock.advance(600)
    assert [item["id"] for item in container.read_all_items()] == ["ever"]


def test_what_has_expired_gives_its_unique_values_up(make_container, emulator):
    # Given a document that has expired, and was made again under another name
    unique = {"uniqueKeys": [{"paths": ["/name"]}]}
    container = make_container(unique_key_policy=unique, default_ttl=60)
    container.create_item(document("1", name="x"))
    emulator.clock.advance(61)
    container.create_item(document("1", name="y"))

    # When another takes the old name, then it is free, and the new one is not
    container.create_item(document("2", name="x"))
    refused(409, container.create_item, document("3", name="y"))


def test_without_expiry_of_the_container_documents_stay(container, emulator):
    container.create_item(document(ttl=1))
    emulator.clock.advance(100)
    assert container.read_item("one", "ada")["ttl"] == 1


def test_reading_and_writing_is_charged(container):
    def charge(response) -> float:
        return float(response.get_response_headers()["x-ms-request-charge"])

    small = charge(container.create_item(document("small")))
    large = charge(container.create_item(document("large", text="x" * 100 * 1024)))
    assert 4.95 < small < 6
    assert 30 < large < 48
    assert charge(container.read_item("small", "ada")) == 1
    assert 4.76 < charge(container.read_item("large", "ada")) < 9.95
    assert charge(container.replace_item("small", document("small"))) == pytest.approx(2 * small, abs=0.1)
