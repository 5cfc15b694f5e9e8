"""Queries by the real SDK: within a partition, and fanned out over all of them."""

import base64
import json

import pytest
from azure.cosmos import PartitionKey
from azure.cosmos.aio import CosmosClient

from tests.ops.cosmos.conftest import NAMES, connect, document, refused

#: Documents of several users: what each query has to find among them.
DOCUMENTS = [
    {"id": f"{user}{seq}", "userID": user, "seq": seq, "kind": "even" if seq % 2 == 0 else "odd"}
    for user in ("ada", "bob", "eve", "ian")
    for seq in range(10)
]


@pytest.fixture(scope="module")
def events(database):
    policy = {
        "includedPaths": [{"path": "/*"}],
        "excludedPaths": [{"path": "/hidden/?"}],
        "compositeIndexes": [[{"path": "/kind"}, {"path": "/seq"}]],
    }
    container = database.create_container(f"q{next(NAMES)}", PartitionKey("/userID"), indexing_policy=policy)
    for body in DOCUMENTS:
        container.create_item(body)
    container.create_item(document("bare"))
    return container


def ask(container, text: str, user: str | None = None, **values) -> list:
    parameters = [{"name": f"@{name}", "value": value} for name, value in values.items()]
    scope = {"enable_cross_partition_query": True} if user is None else {"partition_key": user}
    return list(container.query_items(text, parameters=parameters, **scope))


def ids(items) -> list[str]:
    return [item["id"] for item in items]


def test_a_query_of_a_partition_sees_nothing_of_others(events):
    found = ask(events, "SELECT * FROM c WHERE c.seq >= @from", "bob", **{"from": 8})
    assert ids(found) == ["bob8", "bob9"]


@pytest.mark.parametrize("user", ["ada", None])
@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        ("c.kind = @kind AND c.seq < @below", {"kind": "odd", "below": 4}, lambda d: d["seq"] in {1, 3}),
        ("c.seq IN (@a, @b)", {"a": 2, "b": 5}, lambda d: d["seq"] in {2, 5}),
        ("c.seq = 1 OR c.seq = 2 AND c.kind = 'odd'", {}, lambda d: d["seq"] == 1),
        ("(c.seq = 1 OR c.seq = 2) AND c.kind = 'odd'", {}, lambda d: d["seq"] == 1),
        ("c.seq BETWEEN 3 AND @to", {"to": 5}, lambda d: d["seq"] in {3, 4, 5}),
        ("STARTSWITH(c.kind, 'ev') AND c.seq > 6", {}, lambda d: d["seq"] == 8),
        ("ARRAY_CONTAINS(@some, c.seq)", {"some": [0, 9]}, lambda d: d["seq"] in {0, 9}),
        ('c["seq"] <= 0', {}, lambda d: d["seq"] == 0),
        ("c.seq = '1'", {}, lambda d: False),
        ("c.seq = true", {}, lambda d: False),
        ("@seq < c.seq", {"seq": 8}, lambda d: d["seq"] == 9),
    ],
)
def test_conditions(events, user, condition, values, expected):
    text = f"SELECT * FROM c WHERE {condition}"
    found = ids(ask(events, text, user, **values))
    assert sorted(found) == [d["id"] for d in DOCUMENTS if user in {None, d["userID"]} and expected(d)]


def test_a_document_without_the_property_matches_no_comparison(events):
    for condition in ("c.seq < 100 OR c.seq >= 100", "c.seq = null", "IS_NULL(c.seq)"):
        assert "bare" not in ids(ask(events, f"SELECT * FROM c WHERE {condition}", "ada"))
    assert ids(ask(events, "SELECT * FROM c WHERE NOT IS_DEFINED(c.seq)", "ada")) == ["bare"]


@pytest.mark.parametrize("descending", [False, True])
def test_order_holds_across_partitions_and_ranges(events, descending):
    direction = "DESC" if descending else "ASC"
    found = ask(events, f"SELECT * FROM c WHERE IS_DEFINED(c.seq) ORDER BY c.seq {direction}")
    seqs = sorted((d["seq"] for d in DOCUMENTS), reverse=descending)
    assert [item["seq"] for item in found] == seqs


def test_documents_without_the_ordering_property_come_first(events):
    found = ask(events, "SELECT * FROM c ORDER BY c.seq", "ada")
    assert ids(found)[:3] == ["bare", "ada0", "ada1"]


def test_order_by_two_paths_needs_their_composite_index(events):
    found = ask(events, "SELECT * FROM c WHERE c.seq < 4 ORDER BY c.kind DESC, c.seq DESC", "ada")
    assert ids(found) == ["ada3", "ada1", "ada2", "ada0"]
    refused(400, ask, events, "SELECT * FROM c ORDER BY c.seq, c.kind", "ada")
    refused(400, ask, events, "SELECT * FROM c ORDER BY c.kind ASC, c.seq DESC", "ada")


def test_order_by_a_path_without_index_is_refused(events):
    error = refused(400, ask, events, "SELECT * FROM c ORDER BY c.hidden", "ada")
    assert "excluded" in error.message


@pytest.mark.parametrize(("user", "count"), [("ada", 5), (None, 20)])
def test_counting(events, user, count):
    assert ask(events, "SELECT VALUE COUNT(1) FROM c WHERE c.kind = 'odd'", user) == [count]
    if user:
        assert ask(events, "SELECT COUNT(c.seq) AS n FROM c", user) == [{"n": 10}]


def test_first_results_only(events):
    text = "SELECT VALUE c.id FROM c WHERE c.seq > 2 ORDER BY c.seq"
    assert ask(events, f"{text} OFFSET 1 LIMIT @n", "ada", n=2) == ["ada4", "ada5"]
    assert len(ask(events, f"{text} OFFSET 1 LIMIT 2")) == 2
    assert ask(events, "SELECT TOP 2 VALUE c.seq FROM c WHERE c.seq >= 0 ORDER BY c.seq DESC") == [9, 9]
    assert len(ask(events, "SELECT TOP 7 * FROM c")) == 7
    assert len(ask(events, "SELECT * FROM c OFFSET 3 LIMIT 7")) == 7


def test_projections(events):
    assert ask(events, "SELECT c.id, c.seq AS n, c.missing FROM c WHERE c.seq = 1", "ada") == [
        {"id": "ada1", "n": 1}
    ]
    assert ask(events, "SELECT VALUE {'k': c.kind, 'l': [c.seq, 'x']} FROM c WHERE c.seq = 1", "ada") == [
        {"k": "odd", "l": [1, "x"]}
    ]
    assert ask(events, "SELECT VALUE c.missing FROM c", "ada") == []


@pytest.mark.parametrize("order", ["", " ORDER BY c.seq", " ORDER BY c.seq DESC"])
def test_pages_follow_each_other_by_token(events, order):
    # Given a query whose pages hold three documents
    text = f"SELECT * FROM c WHERE c.seq >= 0{order}"
    whole = ids(ask(events, text, "eve"))

    # When each page is asked for anew, with the token of the one before
    collected, token, pages = [], None, 0
    while True:
        pager = events.query_items(text, partition_key="eve", max_item_count=3).by_page(token)
        collected += ids(next(pager))
        token = pager.continuation_token
        pages += 1
        if token is None:
            break

    # Then nothing is missed or given twice
    assert collected == whole
    assert pages == 4


def test_a_token_of_another_query_is_refused(events):
    pager = events.query_items("SELECT * FROM c", partition_key="ada", max_item_count=3).by_page()
    next(pager)
    other = events.query_items("SELECT * FROM c WHERE c.seq = 1", partition_key="ada")
    refused(400, next, other.by_page(pager.continuation_token))
    refused(400, next, other.by_page("bm9uc2Vuc2U="))


@pytest.mark.parametrize(
    "change",
    [
        {"after": ["x", "x", "x"]},
        {"after": [4, "x", 1]},
        {"after": [4, 1, True]},
        {"after": [4]},
        {"skip": -1},
        {"left": "x"},
        {"range": "99"},
        {"more": 1},
    ],
)
def test_a_forged_token_is_refused(events, change):
    query = events.query_items("SELECT * FROM c ORDER BY c.seq", partition_key="ada", max_item_count=3)
    pager = query.by_page()
    list(next(pager))
    values = json.loads(base64.b64decode(pager.continuation_token))
    forged = base64.b64encode(json.dumps({**values, **change}).encode()).decode()
    refused(400, next, query.by_page(forged))


async def test_the_asynchronous_sdk_queries_alike(events, emulator, database):
    async with connect(emulator, CosmosClient) as client:
        container = client.get_database_client(database.id).get_container_client(events.id)
        # a client that has seen nothing may be answered with old data
        emulator.clock.advance(1)
        text = "SELECT VALUE c.seq FROM c WHERE c.kind = 'odd' ORDER BY c.seq DESC"
        assert [n async for n in container.query_items(text)] == [
            n for n in (9, 7, 5, 3, 1) for _ in range(4)
        ]
        assert [n async for n in container.query_items("SELECT VALUE COUNT(1) FROM c")] == [41]
        in_one = container.query_items(text, partition_key="ian", max_item_count=2).by_page()
        assert [[n async for n in page] async for page in in_one] == [[9, 7], [5, 3], [1]]


def test_several_partitions_must_be_allowed(events):
    query = events.query_items("SELECT * FROM c", enable_cross_partition_query=False)
    assert "Cross partition query is required but disabled" in refused(400, list, query).message


def test_all_documents_can_be_read_without_a_query(events):
    assert len(list(events.read_all_items(max_item_count=7))) == len(DOCUMENTS) + 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("SELECT DISTINCT c.kind FROM c", "DISTINCT"),
        ("SELECT * FROM c JOIN t IN c.tags", "JOIN"),
        ("SELECT c.kind FROM c GROUP BY c.kind", "GROUP"),
        ("SELECT VALUE SUM(c.seq) FROM c", "SUM"),
        ("SELECT * FROM c WHERE c.seq != 1", "!="),
        ("SELECT * FROM c WHERE c.seq + 1 = 2", "arithmetic"),
        ("SELECT * FROM c WHERE c.kind LIKE 'o%'", "LIKE"),
        ("SELECT * FROM c WHERE NOT c.seq = 1", "NOT"),
        ("SELECT * FROM c WHERE LOWER(c.kind) = 'odd'", "LOWER"),
        ("SELECT * FROM c WHERE c.seq = @missing", "@missing"),
        ("SELECT * FROM c WHERE x.seq = 1", "x"),
        ("SELECT * FROM c WHERE c.seq = 1 1", "1"),
        ("SELECT * FROM c ORDER BY c.seq = 1", "="),
        ("SELECT * FROM c WHERE", "the end"),
        ("SELECT * FROM c WHERE c.kind = 'x", "'x"),
        ("SELECT TOP -1 * FROM c", "arithmetic"),
        ("SELECT * FROM c WHERE " + "(" * 100 + "true" + ")" * 100, "deeper"),
        ("SELECT * FROM c WHERE c.seq = " + "[" * 100 + "]" * 100, "deeper"),
    ],
)
def test_what_is_outside_the_subset_is_refused_by_name(events, text, named):
    assert named in refused(400, ask, events, text, "ada").message


def test_a_query_is_charged_by_what_it_looks_at(events):
    def charge(text: str) -> float:
        pager = events.query_items(text, partition_key="ada").by_page()
        list(next(pager))
        return float(events.client_connection.last_response_headers["x-ms-request-charge"])

    assert 2 < charge("SELECT * FROM c WHERE c.seq = 1") < charge("SELECT * FROM c WHERE c.seq >= 0")
