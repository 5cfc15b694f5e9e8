"""Every store agrees with a model of it in memory, whatever is asked, and by several at once."""

import asyncio
import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning.errors import Conflict, PreconditionFailed
from lightning.storage import Create, Delete, Replace, Stored, Upsert, Where
from lightning.storage.rules import document_id

IDS = ["a", "b", "c", "d"]
USERS = ["anna", "bert"]
NO_ETAG = "none that a store gave"

ids = st.sampled_from(IDS)
users = st.sampled_from(USERS)
seqs = st.one_of(st.none(), st.integers(-3, 3))
kinds = st.sampled_from(
    ["create", "replace", "replace stale", "upsert", "delete", "delete version", "delete stale"]
)
changes = st.lists(st.tuples(kinds, ids, seqs), min_size=1, max_size=3, unique_by=lambda change: change[1])
batches = st.tuples(st.just("batch"), users, changes)
pivots = st.tuples(
    st.just("pivot"), users, ids, st.one_of(st.none(), ids), st.sampled_from(["count", "remove", "hold"])
)
queries = st.tuples(
    st.just("query"),
    st.one_of(st.none(), users),
    st.sampled_from(["id", "seq"]),
    st.booleans(),
    st.integers(1, 4),
    st.one_of(st.none(), st.tuples(st.sampled_from(["=", "<", "<=", ">", ">="]), st.integers(-3, 3))),
)
races = st.tuples(st.just("race"), users, st.lists(st.tuples(ids, st.booleans()), min_size=2, max_size=6))
steps = st.lists(st.one_of(batches, batches, pivots, queries, races), min_size=1, max_size=12)

_examples = itertools.count()


class Model:
    """What is stored, by user and id; the names of users are those of one example only."""

    def __init__(self, example: int) -> None:
        self.example = example
        self.documents: dict[str, dict[str, Stored]] = defaultdict(dict)

    def user(self, name: str) -> str:
        return f"{name}-{self.example}"

    def body(self, user: str, id: str, seq: int | None, **fields) -> dict:
        kind = f"k{self.example}"
        body = {"id": id, "userID": user, "kind": kind, "seq": seq, "n": next(_examples), **fields}
        return body if seq != 0 else {name: value for name, value in body.items() if name != "seq"}

    def operation(self, user: str, kind: str, id: str, seq: int | None):
        stood = self.documents[user].get(id)
        etag = NO_ETAG if stood is None or kind.endswith("stale") else stood.etag
        if kind.startswith("delete"):
            return Delete(id) if kind == "delete" else Delete(id, etag)
        body = self.body(user, id, seq)
        return {"c": Create(body), "u": Upsert(body), "r": Replace(body, etag)}[kind[0]]

    def refused(self, user: str, operations) -> tuple[type, str] | None:
        for operation in operations:
            named = document_id(operation)
            stood = self.documents[user].get(named)
            if isinstance(operation, Create) and stood is not None:
                return Conflict, named
            if isinstance(operation, Replace | Delete) and (
                stood is None or operation.etag not in (None, stood.etag)
            ):
                return PreconditionFailed, named
        return None

    def apply(self, user: str, operations, etags) -> None:
        for operation, etag in zip(operations, etags, strict=True):
            if isinstance(operation, Delete):
                del self.documents[user][operation.id]
                assert etag == ""
            else:
                self.documents[user][operation.body["id"]] = Stored(operation.body, etag)


class Pair:
    """Two openings of a store, as two processes have; each is told of what the other wrote."""

    def __init__(self, open_store) -> None:
        self.stores = [open_store(), open_store()]
        self.turns = itertools.cycle([0, 1, 1, 0])

    def next(self):
        turn = next(self.turns)
        asked, other = self.stores[turn], self.stores[1 - turn]
        if (token := other.session("events")) is not None:
            asked.resume("events", token)
        return asked

    async def close(self) -> None:
        for store in self.stores:
            await store.close()


async def run_batch(pair: Pair, model: Model, name: str, chosen) -> None:
    user = model.user(name)
    operations = [model.operation(user, *change) for change in chosen]
    expected = model.refused(user, operations)
    if expected is None:
        model.apply(user, operations, await pair.next().batch("events", user, operations))
        return
    with pytest.raises(Conflict) as refused:
        await pair.next().batch("events", user, operations)
    assert (type(refused.value), refused.value.pointer) == expected


async def run_pivot(pair: Pair, model: Model, name: str, pivot: str, beside: str | None, order: str) -> None:
    user, made = model.user(name), []

    def build(stored):
        assert stored == model.documents[user].get(pivot)
        made[:] = [] if beside in (None, pivot) else [Upsert(model.body(user, beside, 1))]
        if order == "count":
            body = model.body(user, pivot, 2)
            made.append(Create(body) if stored is None else Replace(body, stored.etag))
        elif order == "remove" and stored is not None:
            made.append(Delete(pivot, stored.etag))
        return made

    held = await pair.next().batch_on("events", user, pivot, build)
    model.apply(user, made, held)
    # a pivot that was left alone may have another etag, but nothing else
    stood = await pair.next().get("events", user, pivot)
    known = model.documents[user].get(pivot)
    assert (stood is None) == (known is None)
    if stood is not None:
        assert stood.body == known.body
        model.documents[user][pivot] = stood


async def run_race(pair: Pair, model: Model, name: str, racers) -> None:
    """Let several replace, or create, the same documents at once: of each document one wins."""
    user = model.user(name)

    async def write(id: str):
        operation = model.operation(user, "replace" if id in model.documents[user] else "create", id, 3)
        try:
            return operation, (await pair.next().batch("events", user, [operation]))[0]
        except Conflict:
            return operation, None

    async def count(id: str):
        def build(stored):
            n = 0 if stored is None else stored.body.get("count", 0)
            body = model.body(user, f"count-{id}", None, count=n + 1)
            return [Create(body) if stored is None else Replace(body, stored.etag)]

        await pair.next().batch_on("events", user, f"count-{id}", build)

    results = await asyncio.gather(*(count(each) if counts else write(each) for each, counts in racers))
    won = [(operation, etag) for operation, etag in filter(None, results) if etag is not None]
    written = {each for each, counts in racers if not counts}
    assert sorted(operation.body["id"] for operation, _ in won) == sorted(written)
    model.apply(user, [operation for operation, _ in won], [etag for _, etag in won])
    for each, times in Counter(each for each, counts in racers if counts).items():
        known = model.documents[user].get(f"count-{each}")
        stood = await pair.next().get("events", user, f"count-{each}")
        assert stood.body["count"] == times + (0 if known is None else known.body["count"])
        model.documents[user][f"count-{each}"] = stood


async def run_query(pair: Pair, model: Model, name, order_by, descending, limit, condition) -> None:
    chosen = [model.user(name)] if name is not None else [model.user(each) for each in USERS]
    expected = [
        stored
        for user in chosen
        for stored in model.documents[user].values()
        if stored.body.get(order_by) is not None and _matches(stored.body.get("seq"), condition)
    ]
    expected.sort(key=lambda stored: [stored.body[field] for field in (order_by, "id", "userID")])
    if descending:
        expected.reverse()
    where = [Where("kind", "=", f"k{model.example}")]
    if condition is not None:
        where.append(Where("seq", *condition))
    partition = None if name is None else chosen[0]
    found, page = [], None
    while True:
        answer = await pair.next().query(
            "events", partition, where, order_by=order_by, descending=descending, limit=limit, page=page
        )
        assert len(answer.items) == limit or answer.next is None
        found += answer.items
        page = answer.next
        if page is None:
            break
    assert found == expected


def _matches(seq: int | None, condition) -> bool:
    if condition is None:
        return True
    compare, value = condition
    if seq is None:
        return False
    return {"=": seq == value, "<": seq < value, "<=": seq <= value, ">": seq > value, ">=": seq >= value}[
        compare
    ]


RUN = {"batch": run_batch, "pivot": run_pivot, "race": run_race, "query": run_query}


def test_agrees_with_a_model(open_store):
    with asyncio.Runner() as runner:
        pair = Pair(open_store)

        async def play(plan) -> None:
            model = Model(next(_examples))
            for kind, *arguments in plan:
                await RUN[kind](pair, model, *arguments)
            for name, each in itertools.product(USERS, IDS):
                user = model.user(name)
                assert await pair.next().get("events", user, each) == model.documents[user].get(each)

        @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(steps)
        def compare(plan):
            runner.run(play(plan))

        try:
            compare()
        finally:
            runner.run(pair.close())
