"""Identifiers: unique where they are new, the same where they are derived."""

import os
import uuid

from hypothesis import given
from hypothesis import strategies as st

from lightning.ids import account_id, derived_id, keyed_id, new_id

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
FIRST, SECOND = "0192f0c1-2d3e-7f40-8a5b-6c7d8e9f0a1b", "0192f0c1-2d3e-7f40-8a5b-6c7d8e9f0a1c"


def test_new_ids_are_version_7_and_differ():
    ids = [new_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert {uuid.UUID(i).version for i in ids} == {7}
    assert all(i == str(uuid.UUID(i)) for i in ids)


def test_new_ids_differ_after_a_fork():
    read, write = os.pipe()
    new_id()
    for _ in range(2):
        if os.fork() == 0:
            os.write(write, b"".join(new_id().encode() for _ in range(50)))
            os._exit(0)
    for _ in range(2):
        assert os.wait()[1] == 0
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    ids = [text[i : i + 36] for i in range(0, len(text), 36)] + [new_id().encode()]
    assert len(set(ids)) == len(ids) == 101


def test_derived_ids_never_change():
    assert derived_id(FIRST, "response") == "5bb8fa05-67bf-5ddb-bdd5-ff1fb21f7186"
    assert keyed_id(FIRST, "key") == "84cd865e-412a-5774-a431-59baac51a454"
    assert account_id("alice") == "801dd386-459d-5468-8d5f-20900d9ae7ca"


def test_each_part_matters():
    assert derived_id(FIRST, "a") != derived_id(FIRST, "b")
    assert derived_id(FIRST, "a") != derived_id(SECOND, "a")
    assert keyed_id(FIRST, "a") != keyed_id(SECOND, "a")


@given(TEXT, TEXT)
def test_the_namespaces_are_apart(first, second):
    assert derived_id(first, second) != keyed_id(first, second)
    assert account_id(second) not in {derived_id(first, second), keyed_id(first, second)}


@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_parts_do_not_run_into_one_another(one, other):
    assert (derived_id(*one) == derived_id(*other)) == (one == other)
    assert (keyed_id(*one) == keyed_id(*other)) == (one == other)


def test_digits_do_not_run_into_the_length():
    pairs = [
        ("", "1:ab"),
        ("1", ":ab"),
        ("1:", "ab"),
        ("1:a", "b"),
        ("1:ab", ""),
        ("é", "a"),
        ("e", "\u0301a"),
    ]
    assert len({derived_id(*pair) for pair in pairs}) == len(pairs)
