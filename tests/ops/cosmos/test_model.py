"""Random batches against a plain model, and what the journal keeps of them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ops.emulators.cosmos.batch import run_batch
from ops.emulators.cosmos.container import Container, Lag
from ops.emulators.cosmos.indexing import DEFAULT_POLICY
from ops.emulators.cosmos.items import Operation
from ops.emulators.cosmos.journal import Journal
from ops.emulators.cosmos.partition_key import as_key
from ops.emulators.cosmos.transaction import Transaction

PROPERTIES = {
    "id": "c", "_rid": "AAAAAIAAAAA=", "_self": "dbs/AAAAAA==/colls/AAAAAIAAAAA=/",
    "partitionKey": {"paths": ["/userID"]}, "indexingPolicy": DEFAULT_POLICY,
    "uniqueKeyPolicy": {"uniqueKeys": [{"paths": ["/name"]}]},
}  # fmt: skip
ADA = as_key("ada")

kinds = st.sampled_from(["create", "upsert", "replace", "delete"])
operations = st.tuples(kinds, st.sampled_from("abc"), st.sampled_from(["x", "y", "z"]))
batches = st.lists(st.lists(operations, min_size=1, max_size=4), max_size=12)


def as_operation(kind: str, name: str, value: str) -> Operation:
    body = None if kind == "delete" else {"id": name, "userID": "ada", "name": value}
    return Operation(kind, name, body)


def apply_to_model(model: dict[str, str], batch) -> dict[str, str] | None:
    """Do a batch on names by id; None: it fails."""
    after = dict(model)
    for kind, name, value in batch:
        exists = name in after
        if (kind == "create" and exists) or (kind in {"replace", "delete"} and not exists):
            return None
        if kind == "delete":
            del after[name]
        elif value in (other for holder, other in after.items() if holder != name):
            return None
        else:
            after[name] = value
    return after


def names_in(container: Container) -> dict[str, str]:
    partition = container.partition(ADA)
    return {
        item.id: item.head.body["name"] for item in partition.items.values() if item.head.body is not None
    }


@settings(max_examples=50, deadline=None)
@given(batches)
def test_batches_do_what_the_model_does_and_the_journal_keeps_it(tmp_path_factory, written):
    # Given a container that is kept in a file
    path = tmp_path_factory.mktemp("journal") / "cosmos.db"
    journal = Journal(path)
    try:
        journal.save_container("lightning", 2, PROPERTIES)
        container, model = Container(PROPERTIES, 2, Lag(0)), {}

        # When batches come, then each does all of what the model does, or nothing
        for batch in written:
            transaction = Transaction(container, ADA, 1000.0)
            status, _, _ = run_batch(
                [as_operation(*operation) for operation in batch],
                transaction,
                ("userID",),
                lambda transaction=transaction: transaction.commit(journal),
            )
            after = apply_to_model(model, batch)
            assert status == (207 if after is None else 200)
            model = model if after is None else after
            assert names_in(container) == model
    finally:
        journal.close()

    # And who opens the file finds the same, up to the numbers
    journal = Journal(path)
    try:
        again = Container(PROPERTIES, 2, Lag(0))
        journal.fill(again)
        assert names_in(again) == model
        assert again.range_of(ADA).lsn == container.range_of(ADA).lsn
        assert again.partition(ADA).items.keys() == container.partition(ADA).items.keys()
        taken = {values[0][1] for values in again.partition(ADA).unique[0]}
        assert taken == set(model.values())
    finally:
        journal.close()
