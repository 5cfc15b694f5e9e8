"""The query engine against a plain model: any documents, any conditions, any moment that is read at."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.emulators.cosmos.bounds import Bound
from ops.emulators.cosmos.container import Container, Lag
from ops.emulators.cosmos.indexing import DEFAULT_POLICY
from ops.emulators.cosmos.partition_key import as_key
from ops.emulators.cosmos.querying import QueryRequest, run_query
from ops.emulators.cosmos.sql import evaluator, parse_condition, parse_query
from ops.emulators.cosmos.sql.nodes import (
    And,
    ArrayOf,
    Call,
    Compare,
    In,
    Literal,
    Not,
    ObjectOf,
    Or,
    Parameter,
    Path,
    text_of,
)
from ops.emulators.cosmos.transaction import Transaction
from ops.emulators.cosmos.values import sort_key

MISSING = object()
POLICY = {**DEFAULT_POLICY, "compositeIndexes": [[{"path": "/a"}, {"path": "/b"}]]}

#: Few values of every type, numbers above all, so that they meet often.
numbers = st.sampled_from([-1, 0, 1, 1.5, 2])
scalars = numbers | numbers | st.sampled_from([None, False, True, "", "a", "ab"])
values = scalars | st.sampled_from([[1], [True], {"x": 1}])
fields = st.sampled_from(["a", "b"])
bodies = st.dictionaries(fields, values, min_size=1)
users = st.sampled_from(["ada", "bob"])
names_of_documents = st.sampled_from("1234")
writes = st.lists(st.tuples(users, names_of_documents, bodies | bodies | st.none()), min_size=8, max_size=20)


# The model: conditions as pairs of text and function, written apart from the engine.


def type_of(value) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def compared(operator: str, left, right):
    """Compare as the documentation's table says; None is undefined."""
    if MISSING in (left, right) or type_of(left) != type_of(right):
        return None
    if operator == "=":
        return orjson.dumps(left) == orjson.dumps(right) or (type_of(left) == "number" and left == right)
    if type_of(left) in {"list", "dict"}:
        return None
    if left is None:
        return "=" in operator
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def all_of(results):
    return False if False in results else None if None in results else True


def any_of(results):
    return True if True in results else None if None in results else False


@st.composite
def comparisons(draw):
    field, operator, value = draw(fields), draw(st.sampled_from(["=", "<", "<=", ">", ">="])), draw(values)
    text = f"c.{field} {operator} {orjson.dumps(value).decode()}"
    return text, lambda body: compared(operator, body.get(field, MISSING), value)


@st.composite
def memberships(draw):
    field, choices = draw(fields), draw(st.lists(values, min_size=1, max_size=3))
    listed = ", ".join(orjson.dumps(choice).decode() for choice in choices)
    return f"c.{field} IN ({listed})", lambda body: any_of(
        [compared("=", body.get(field, MISSING), choice) for choice in choices]
    )


@st.composite
def definedness(draw):
    field, negated = draw(fields), draw(st.booleans())
    return f"{'NOT ' if negated else ''}IS_DEFINED(c.{field})", lambda body: (field in body) != negated


def joined(conditions):
    @st.composite
    def draw_joined(draw):
        parts = draw(st.lists(conditions, min_size=2, max_size=3))
        word, combine = draw(st.sampled_from([("AND", all_of), ("OR", any_of)]))
        text = "(" + f" {word} ".join(part for part, _ in parts) + ")"
        return text, lambda body: combine([holds(body) for _, holds in parts])

    return draw_joined()


conditions = st.recursive(comparisons() | memberships() | definedness(), joined, max_leaves=6)

RANKS = ["NoneType", "boolean", "number", "str", "list", "dict"]


def order_key(body: dict, field: str) -> tuple:
    value = body.get(field, MISSING)
    rank = -1 if value is MISSING else RANKS.index(type_of(value))
    return (rank, value if rank in {1, 2, 3} else 0)


# The engine


def new_container(ranges: int) -> Container:
    properties = {
        "id": "c", "_rid": "AAAAAIAAAAA=", "_self": "dbs/AAAAAA==/colls/AAAAAIAAAAA=/",
        "partitionKey": {"paths": ["/userID"]}, "indexingPolicy": POLICY,
    }  # fmt: skip
    return Container(properties, ranges, Lag(3600))


def play(
    container: Container, written, past: dict[tuple[str, str], dict]
) -> list[dict[tuple[str, str], dict]]:
    """Do writes on top of a moment. Gives the documents as they were then, and after each."""
    moments = [past]
    for user, name, body in written:
        transaction = Transaction(container, as_key(user), 1000.0)
        before = transaction.find(name)
        now = dict(moments[-1])
        if body is not None:
            document = {**body, "id": name, "userID": user}
            transaction.put(document, before)
            now[user, name] = document
        elif before is not None:
            transaction.delete(name, before)
            del now[user, name]
        else:
            continue
        transaction.commit(None)
        moments.append(now)
    return moments


def found_by(container, text, *, user, lsns, page_items) -> list[dict]:
    """Ask page by page as an SDK does that fans out."""
    results = []
    scopes = [(as_key(user), None)] if user else [(None, held.id) for held in container.ranges]
    for key, range_id in scopes:
        token = None
        while True:
            request = QueryRequest(text, {}, key, range_id, True, page_items, token)
            page = run_query(container, request, lambda held: lsns[held.id], 1000.0)
            results += [orjson.loads(result) for result in page.results]
            assert len(page.results) <= page_items
            token = page.token
            if token is None:
                break
    return results


@settings(max_examples=120, deadline=None)
@given(
    written=writes,
    condition=conditions,
    order=st.sampled_from([None, "a", "b"]),
    descending=st.booleans(),
    user=st.none() | users,
    ranges=st.sampled_from([1, 3]),
    page_items=st.integers(1, 4),
    data=st.data(),
)
def test_a_query_finds_what_the_model_finds(
    written, condition, order, descending, user, ranges, page_items, data
):
    # Given documents, indexed in the middle of their writes
    container = new_container(ranges)
    half = len(written) // 2
    past = play(container, written[:half], {})[-1]
    text, holds = condition
    ordering = f" ORDER BY c.{order} {'DESC' if descending else 'ASC'}" if order else ""
    query = f"SELECT * FROM c WHERE {text}{ordering}"
    lsns = {held.id: held.lsn for held in container.ranges}
    if data.draw(st.booleans(), "indexed early"):
        found_by(container, query, user=user, lsns=lsns, page_items=4)

    # and any moment since then, or with several ranges the middle, that is read at
    later = play(container, written[half:], past)
    if ranges == 1:
        step = data.draw(st.integers(0, len(later) - 1), "moment")
        lsns, past = {"0": lsns["0"] + step}, later[step]

    # When it is asked for, page by page
    results = found_by(container, query, user=user, lsns=lsns, page_items=page_items)

    # Then it is what a loop over all documents of that moment finds
    expected = [body for (owner, _), body in past.items() if user in {None, owner} and holds(body) is True]
    bare = [{name: value for name, value in result.items() if name[0] != "_"} for result in results]
    assert by_id(bare) == by_id(expected)

    # And in order, within a partition or a range
    if order and (user or ranges == 1):
        keys = [order_key(body, order) for body in bare]
        assert keys == sorted(keys, reverse=descending)


def by_id(found: list[dict]) -> list[bytes]:
    return sorted(orjson.dumps(body, option=orjson.OPT_SORT_KEYS) for body in found)


@settings(max_examples=200, deadline=None)
@given(st.lists(values, max_size=8), st.sampled_from(["=", "<", "<=", ">", ">="]), scalars)
def test_a_bound_spans_what_satisfies_it(held, operator, value):
    index = sorted((*sort_key(entry), number) for number, entry in enumerate(held))
    low, high = Bound(operator, value).span(index)
    spanned = {number for *_, number in index[low:high]}
    assert spanned == {
        number for number, entry in enumerate(held) if compared(operator, entry, value) is True
    }


# The language

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)
constants = st.none() | st.booleans() | st.integers(0, 9) | st.floats(0, 9) | st.text(max_size=5)
literals = st.builds(Literal, constants)
paths = st.builds(Path, st.lists(names | st.integers(0, 3), min_size=1, max_size=3).map(tuple))
operands = literals | paths | st.builds(Parameter, st.sampled_from(["@a", "@b2"]))
made = st.recursive(
    operands,
    lambda inner: (
        st.builds(ArrayOf, st.lists(inner, max_size=2).map(tuple))
        | st.builds(ObjectOf, st.lists(st.tuples(names, inner), max_size=2).map(tuple))
    ),
    max_leaves=4,
)
calls = st.builds(Call, st.sampled_from(["IS_DEFINED", "IS_NULL"]), made.map(lambda node: (node,)))
leaves = (
    st.builds(Compare, st.sampled_from(["=", "<", "<=", ">", ">="]), made, made)
    | st.builds(In, operands, st.lists(made, min_size=1, max_size=3).map(tuple))
    | calls
    | st.builds(Not, calls)
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_a_condition_that_is_written_is_read_as_the_same(tree):
    assert parse_condition(f"FROM c WHERE {text_of(tree)}") == tree


@settings(deadline=None)
@given(conditions, bodies)
def test_a_condition_has_the_documented_value(condition, body):
    text, holds = condition
    query = parse_query(f"SELECT * FROM c WHERE {text}")
    value = evaluator(query.where, {})(body)
    assert value is {None: value, True: True, False: False}[holds(body)]
    assert (value is True) == (holds(body) is True)
    assert (value is False) == (holds(body) is False)
