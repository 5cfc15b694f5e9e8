"""What the SQLite broker does beyond the contract: processes, files, locks and leases."""

import contextlib
import fcntl
import logging
import os
import random
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError, QueueJoinTimeout
from dramatiq.middleware.threading import raise_thread_exception

from brokers.group_commit import GroupCommit
from brokers.sqlite import SqliteBroker
from brokers.wakeup import SLOTS, Sleeper, Wakeup
from tests.contract.broker_kits import SqliteKit, eventually, receive, together, working


@pytest.fixture
def kit(tmp_path: Path):
    kit = SqliteKit(tmp_path)
    yield kit
    kit.close()


@pytest.fixture
def broker(kit: SqliteKit):
    broker = kit.open()
    broker.declare_queue("default")
    return broker


def message(*args: Any, queue_name: str = "default") -> Message:
    return Message(queue_name, "any", args, {}, {})


def consume(broker: Any, prefetch: int = 1, timeout: int = 100) -> Any:
    return broker.consume(queue_name="default", prefetch=prefetch, timeout=timeout)


def take_all(broker: Any) -> list[Any]:
    consumer = consume(broker, prefetch=1000)
    taken = []
    while (received := next(consumer)) is not None:
        taken.append(received.args[0])
        consumer.ack(received)
    consumer.close()
    return taken


def rows(kit: SqliteKit, statement: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(kit.path)) as connection:
        return connection.execute(statement).fetchall()


# Waking


def test_a_sender_wakes_a_worker_of_another_process(kit: SqliteKit):
    # Given a worker that sleeps in another process
    broker = kit.open()
    actors = kit.actors(broker)
    kit.start_worker()
    took: list[float] = []
    for number in range(10):
        # When a message is sent
        sent = time.time()
        actors["record"].send(number)
        eventually(lambda number=number: len(kit.noted("record")) == number + 1)
        took.append(float(kit.log.read_text().split()[-1]) - sent)

    # Then it runs at once, and not when the worker looks for itself
    assert sorted(took)[5] < 0.3


def wait_for_a_message(broker: Any, sender: Any) -> float:
    consumer = consume(broker, timeout=5000)
    sent: list[float] = []

    def send() -> None:
        sent.append(time.monotonic())
        sender.enqueue(message())

    timer = threading.Timer(0.2, send)
    timer.start()
    received = next(consumer)
    took = time.monotonic() - sent[0]
    timer.join()
    consumer.ack(received)
    consumer.close()
    return took


def two_brokers(path: Path) -> tuple[SqliteBroker, SqliteBroker]:
    brokers = SqliteBroker(path), SqliteBroker(path)
    for broker in brokers:
        broker.declare_queue("default")
    return brokers


def test_waking_works_on_long_paths(tmp_path: Path):
    # Given a path that is too long for the name of a socket
    path = tmp_path / ("deep" * 20) / ("down" * 20) / "queue.db"
    broker, sender = two_brokers(path)

    # When a message is sent to a sleeper, then it wakes
    assert wait_for_a_message(broker, sender) < 0.5
    broker.close()
    sender.close()


def test_waking_works_again_after_its_directory_was_removed(tmp_path: Path):
    broker, sender = two_brokers(tmp_path / "queue.db")
    assert wait_for_a_message(broker, sender) < 0.5

    for file in (tmp_path / "queue.db.wake").iterdir():
        file.unlink()
    (tmp_path / "queue.db.wake").rmdir()

    assert wait_for_a_message(broker, sender) < 0.5
    broker.close()
    sender.close()


def test_a_message_wakes_nobody_who_waits_for_another_queue(tmp_path: Path):
    # Given sleepers for two queues, the wrong one first
    wakeup = Wakeup(tmp_path / "wake")
    wrong, right = Sleeper(wakeup, "wrong"), Sleeper(wakeup, "right")
    wrong.announce()
    right.announce()

    # When one is called
    Wakeup(tmp_path / "wake").wake("right")

    # Then that one wakes
    started = time.monotonic()
    right.sleep(5)
    assert time.monotonic() - started < 1
    wrong.sleep(0.05)
    assert time.monotonic() - started >= 0.05
    wrong.close()
    right.close()


def test_a_sleeper_that_died_is_passed_over(tmp_path: Path):
    # Given a board on which a dead process says that it sleeps
    wakeup = Wakeup(tmp_path / "wake")
    dead, alive = Sleeper(wakeup, "work"), Sleeper(wakeup, "work")
    dead.announce()
    alive.announce()
    board = wakeup.board()
    dead.close()
    board.flags[0] = 1

    # When somebody is called, then the living one wakes
    wakeup.wake("work")
    started = time.monotonic()
    alive.sleep(5)
    assert time.monotonic() - started < 1
    alive.close()


def test_more_sleepers_than_slots_look_for_themselves(tmp_path: Path, caplog):
    wakeup = Wakeup(tmp_path / "wake")
    sleepers = [Sleeper(wakeup, "work") for _ in range(SLOTS + 1)]
    assert "slots for sleepers are taken" in caplog.text
    sleepers[-1].announce()
    sleepers[-1].nudge()
    sleepers[-1].sleep(5)
    for sleeper in sleepers:
        sleeper.close()


# Group commit


def held_back(commits: GroupCommit, *functions: Any) -> None:
    """Run functions whose operations all wait when the first of them is led."""
    waiting = commits._waiting
    with commits._lock:
        threads = [threading.Thread(target=function) for function in functions]
        for thread in threads:
            thread.start()
        eventually(lambda: len(waiting) == len(functions))
    for thread in threads:
        thread.join()


def test_an_operation_that_fails_undoes_nothing_of_its_group(broker: Any):
    # Given three operations that are committed together, of which one fails half-way
    broker.enqueue(message("opens the file"))
    errors: list[Exception] = []

    def failing(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE messages SET queue_name = 'changed'")
        raise ValueError("in the middle")

    def fail() -> None:
        try:
            broker._commits.run(failing)
        except ValueError as error:
            errors.append(error)

    # When they run
    held_back(
        broker._commits, lambda: broker.enqueue(message("a")), fail, lambda: broker.enqueue(message("b"))
    )

    # Then the others are committed, and its own changes are not
    assert len(errors) == 1
    assert sorted(take_all(broker)) == ["a", "b", "opens the file"]


def test_a_failed_transaction_fails_the_whole_group_and_leaves_nothing_open(kit: SqliteKit):
    # Given a foreign program that has locked the file
    broker = kit.open(busy_timeout_seconds=0.1)
    broker.declare_queue("default")
    broker.enqueue(message("before"))
    failed: list[Exception] = []

    def send() -> None:
        try:
            broker.enqueue(message("lost"))
        except BrokerConnectionError as error:
            failed.append(error)

    with contextlib.closing(sqlite3.connect(kit.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        # When several send, then each learns of it
        held_back(broker._commits, send, send, send)
        assert len(failed) == 3
        assert "locked" in str(failed[0])
        foreign.execute("ROLLBACK")

    # And afterwards all is well
    broker.enqueue(message("after"))
    assert take_all(broker) == ["before", "after"]


def test_a_full_disk_raises_to_the_sender_and_is_survived(broker: Any):
    # Given a file that may not grow
    broker.enqueue(message("before"))
    connection = broker._commits._file.open()
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")

    # When a large message is sent, then its sender learns of it
    with pytest.raises(BrokerConnectionError, match="full"):
        broker.enqueue(message("x" * 100_000))

    # And when there is room again, all is well
    broker.close()  # the limit is the connection's
    broker.enqueue(message("after"))
    assert take_all(broker) == ["before", "after"]


def test_what_failed_is_not_sent_later(kit: SqliteKit, broker: Any):
    # Given a lock that cannot be opened
    lock = Path(f"{kit.path}.lock")
    lock.mkdir()
    with pytest.raises(BrokerConnectionError, match="lock"):
        broker.enqueue(message("failed"))
    lock.rmdir()

    # When the next message is sent, then the first one does not follow
    broker.enqueue(message("after"))
    assert take_all(broker) == ["after"]


def test_an_interrupted_thread_takes_nobody_along(kit: SqliteKit, broker: Any, monkeypatch):
    # An interrupt that hits a destructor goes nowhere; the hook of pytest would be hit by the next one.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)

    # Given a thread that sends and is interrupted at any point, as TimeLimit does it
    class InterruptError(BaseException):
        pass

    stopped = threading.Event()
    beaten = [0]

    def send_while_interrupted() -> None:
        while not stopped.is_set():
            try:
                while not stopped.is_set():
                    broker.enqueue(message("interrupted"))
            except InterruptError:
                beaten[0] += 1

    victim = threading.Thread(target=send_while_interrupted)
    victim.start()

    # When others send meanwhile
    for number in range(1000):
        broker.enqueue(message(number))
        if number % 3 == 0 and victim.ident is not None:
            raise_thread_exception(victim.ident, InterruptError)
    stopped.set()
    with contextlib.suppress(InterruptError):
        victim.join()

    # Then nothing of theirs is lost, and no lock is left behind
    assert beaten[0] > 10
    taken = take_all(broker)
    assert [one for one in taken if one != "interrupted"] == list(range(1000))
    with Path(f"{kit.path}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_fork_in_the_middle_of_everything(broker: Any):
    # Given a process whose threads send
    broker.declare_queue("other")
    stopped = threading.Event()

    def send() -> None:
        while not stopped.is_set():
            broker.enqueue(message("thread"))

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()

    # When it forks, and both go on
    for number in range(10):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                broker.enqueue(message(number))
                broker.enqueue(message("child's own", queue_name="other"))
                consumer = broker.consume(queue_name="other", timeout=5000)
                consumer.ack(receive(consumer))
                consumer.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
    stopped.set()
    for thread in threads:
        thread.join()

    # Then all of it arrives
    assert broker.qsize("other") == 0
    assert [one for one in take_all(broker) if one != "thread"] == list(range(10))


def test_a_child_keeps_its_own_leases_and_not_those_of_its_parent(broker: Any):
    # Given a process that holds a message and has acknowledged another
    broker.enqueue_many([(message(number), None) for number in range(3)])
    consumer = consume(broker, prefetch=2)
    acknowledged, held = receive(consumer), receive(consumer)
    consumer.ack(acknowledged)

    # When it forks, and the child consumes
    child = os.fork()
    if child == 0:
        status = 1
        try:
            broker.dead_letters()  # would settle what is settled in this process
            own = consume(broker)
            keepers = [thread.name for thread in threading.enumerate()].count("lease-keeper")
            if receive(own).args == (2,) and keepers == 1 and broker.qsize("default") == 3:
                status = 0
            own.close()
        finally:
            os._exit(status)

    # Then it has a keeper of its own, and leaves to the parent what is the parent's
    assert os.waitpid(child, 0)[1] == 0
    consumer.ack(held)
    consumer.close()
    assert broker.qsize("default") == 1


def test_nothing_is_opened_before_the_first_use(tmp_path: Path):
    broker = SqliteBroker(tmp_path / "queue.db")
    broker.declare_queue("default")
    assert list(tmp_path.iterdir()) == []


# Leases


def test_a_lease_is_renewed_from_receipt_for_as_long_as_the_message_is_held(kit: SqliteKit):
    # Given an actor that runs for much longer than a lease, and a message that waits behind it
    broker = kit.open(lease_seconds=0.8)
    may_finish = threading.Event()
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def work(number):
        ran.append(number)
        assert may_finish.wait(20)

    for number in range(2):
        work.send(number)
    other = kit.open(lease_seconds=0.8)
    other.declare_queue("default")
    with working(broker, threads=1):
        eventually(lambda: ran)
        # When more than two leases' time has passed, then nobody else gets either
        intruder = other.consume(queue_name="default", prefetch=2, timeout=2000)
        assert next(intruder) is None
        may_finish.set()
        broker.join("default", timeout=5000)
        intruder.close()
    assert ran == [0, 1]


def test_renewal_ends_with_the_broker(kit: SqliteKit):
    def keepers():
        return {thread for thread in threading.enumerate() if thread.name == "lease-keeper"}

    foreign = keepers()
    broker = kit.open(lease_seconds=0.2)
    broker.declare_queue("default")
    broker.enqueue(message())
    consumer = consume(broker)
    held = receive(consumer)
    assert keepers() - foreign

    consumer.close()
    broker.close()

    assert not keepers() - foreign
    successor = kit.open()
    successor.declare_queue("default")
    assert receive(consume(successor)).message_id == held.message_id


def test_what_runs_is_kept_while_its_worker_pauses(kit: SqliteKit):
    # Given a worker that pauses, which closes its consumers, while an actor runs
    broker = kit.open(lease_seconds=0.8)
    may_finish = threading.Event()
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def work():
        ran.append(1)
        assert may_finish.wait(20)

    work.send()
    other = kit.open(lease_seconds=0.8)
    other.declare_queue("default")
    with working(broker, threads=1) as worker:
        eventually(lambda: ran)
        pausing = threading.Thread(target=worker.pause)  # it waits for what runs
        pausing.start()
        eventually(lambda: all(consumer.paused for consumer in worker.consumers.values()))
        # When more than two leases' time has passed, then nobody else gets it
        intruder = other.consume(queue_name="default", prefetch=1, timeout=2000)
        assert next(intruder) is None
        # And it can be finished
        may_finish.set()
        pausing.join(5)
        worker.resume()
        broker.join("default", timeout=5000)
        intruder.close()
    assert ran == [1]


def test_a_lost_lease_is_noticed_before_the_message_is_settled(kit: SqliteKit, caplog):
    broker = kit.open(lease_seconds=0.2)
    broker.declare_queue("default")
    broker.enqueue(message())
    consumer = consume(broker)
    held = receive(consumer)

    rows(kit, "SELECT 1")
    with contextlib.closing(sqlite3.connect(kit.path)) as thief, thief:
        thief.execute("UPDATE messages SET token = 1")
    eventually(lambda: f"lease on message {held.message_id} was lost" in caplog.text)

    # A retry of it is left to the new holder
    broker.enqueue(held, delay=0)
    consumer.ack(held)
    consumer.close()
    assert rows(kit, "SELECT token FROM messages") == [(1,)]


def test_what_nobody_can_settle_any_more_is_given_to_others(kit: SqliteKit):
    # Given a delivery that its program has dropped
    broker = kit.open(lease_seconds=0.3)
    broker.declare_queue("default")
    broker.enqueue(message("dropped"))
    consumer = consume(broker)
    assert receive(consumer).args == ("dropped",)

    # Then it is delivered again, by the same consumer even, and takes up no room
    assert receive(consumer).args == ("dropped",)
    consumer.close()


def test_after_an_error_old_deliveries_are_renewed_and_settled_through_the_new_consumer(kit: SqliteKit):
    # Given a consumer that is replaced while one of its messages runs
    broker = kit.open(lease_seconds=0.6)
    broker.declare_queue("default")
    broker.enqueue(message())
    first = consume(broker)
    held = receive(first)
    first.close()
    second = consume(broker, timeout=1500)

    # When more than two leases' time passes, then nobody gets it
    assert next(second) is None
    # And it can be settled
    second.ack(held)
    second.close()
    assert broker.qsize("default") == 0


def test_settlements_outlive_a_consumer_that_could_not_write_them(kit: SqliteKit):
    # Given an acknowledgement, and a foreign program that has locked the file
    broker = kit.open(busy_timeout_seconds=0.1)
    broker.declare_queue("default")
    broker.enqueue(message())
    consumer = consume(broker)
    consumer.ack(receive(consumer))
    with contextlib.closing(sqlite3.connect(kit.path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        # When the consumer closes
        with pytest.raises(BrokerConnectionError):
            consumer.close()
        foreign.execute("ROLLBACK")

    # Then the next one writes it
    successor = consume(broker)
    assert next(successor) is None
    assert rows(kit, "SELECT count(*) FROM messages") == [(0,)]
    successor.close()


def test_giving_back_does_not_count_as_a_delivery(broker: Any, kit: SqliteKit):
    # Given messages, of which one was handed out and given back, and one never left the buffer
    broker.enqueue_many([(message(number), None) for number in range(2)])
    consumer = consume(broker, prefetch=2)
    consumer.requeue([receive(consumer)])
    consumer.close()

    # Then both are visible at once, in their old order, and no delivery is counted
    assert rows(kit, "SELECT deliveries, token, visible_at - due_at FROM messages") == [(0, 0, 0)] * 2
    assert take_all(broker) == [0, 1]


def test_a_retry_moves_its_message_in_place_and_starts_the_count_again(broker: Any, kit: SqliteKit):
    broker.enqueue(message())
    [(row_id,)] = rows(kit, "SELECT id FROM messages")
    consumer = consume(broker)
    held = receive(consumer)

    held.options["retries"] = 1
    broker.enqueue(held, delay=60_000)

    assert rows(kit, "SELECT id, token, deliveries FROM messages") == [(row_id, 0, 0)]
    consumer.ack(held)
    consumer.close()
    [(body,)] = rows(kit, "SELECT body FROM messages")
    assert Message.decode(body).options == {"retries": 1}


def test_a_copy_of_a_held_message_moves_it_too_but_other_arguments_make_another(broker: Any):
    broker.enqueue(message("a"))
    consumer = consume(broker)
    held = receive(consumer)
    broker.enqueue(held.copy(args=("b",)))
    assert broker.qsize("default") == 2
    broker.enqueue(held.copy(options={"copied": True}))
    assert broker.qsize("default") == 2
    broker.enqueue(held.copy())
    consumer.ack(held)
    consumer.close()
    assert sorted(take_all(broker)) == ["a", "a", "b"]


def test_those_who_are_held_together_with_poison_live(kit: SqliteKit):
    # Given a message that kills its process, and others around it
    options = {"lease_seconds": 0.3, "max_deliveries": 4}
    broker = kit.open(**options)
    actors = kit.actors(broker)
    actors["kill"].send("poison")
    for number in range(5):
        actors["record"].send_with_options(args=(number,), delay=1)  # claimed behind it, in the same batch

    # When workers of one thread are started until the queue is empty
    deaths = 0
    while broker.qsize("default"):
        worker = kit.start("--threads", "1", **options)
        eventually(lambda worker=worker: worker.poll() is not None or not broker.qsize("default"))
        deaths += worker.poll() is not None
        assert deaths <= 4

    # Then only the poison is given up
    assert [dead.reason for dead in kit.dead(broker)] == ["delivery_count_exceeded"]
    assert sorted(set(kit.noted("record"))) == ["0", "1", "2", "3", "4"]


# The file


def test_removing_the_file_again_and_again_raises_to_no_sender(kit: SqliteKit, caplog):
    # Given processes and threads that send and work
    caplog.set_level(logging.ERROR)
    broker = kit.open()
    actors = kit.actors(broker)
    kit.start_worker()
    stopped = threading.Event()
    sent = [0, 0]

    def send(sender: int) -> None:
        while not stopped.is_set():
            actors["record"].send("noise")
            sent[sender] += 1

    def remove() -> None:
        try:
            for _ in range(60):
                suffixes = ["", "-wal", "-shm"]
                random.shuffle(suffixes)
                for suffix in suffixes:
                    Path(f"{kit.path}{suffix}").unlink(missing_ok=True)
                    time.sleep(random.random() / 500)
                before = list(sent)
                eventually(lambda before=before: all(map(int.__gt__, sent, before)), within=5)
        finally:
            stopped.set()

    # When the file is removed meanwhile, in any order and with pauses in between
    together(lambda: send(0), lambda: send(1), remove)

    # Then what is sent afterwards is delivered
    for number in range(20):
        actors["record"].send(number)
    eventually(lambda: {str(number) for number in range(20)} <= set(kit.noted("record")))
    assert rows(kit, "PRAGMA integrity_check") == [("ok",)]


def test_removing_only_the_log_splits_nobody_off_and_loses_nothing(kit: SqliteKit):
    # Given a message that is still in the log
    broker = kit.open()
    actors = kit.actors(broker)
    actors["record"].send("before")

    # When log and shared memory are removed, but not the database
    for suffix in ("-wal", "-shm"):
        Path(f"{kit.path}{suffix}").unlink()
    actors["record"].send("after")

    # Then who comes later finds what was sent before, and what was sent since
    kit.start_worker()
    eventually(lambda: sorted(kit.noted("record")) == ["after", "before"])
    broker.join("default", timeout=5000)


def test_a_removed_directory_is_created_again(tmp_path: Path):
    path = tmp_path / "data" / "queue.db"
    broker, sender = two_brokers(path)
    sender.enqueue(message("before"))
    assert take_all(broker) == ["before"]

    moved = (tmp_path / "data").rename(tmp_path / "moved")
    assert moved.exists()

    sender.enqueue(message("after"))
    assert take_all(broker) == ["after"]
    broker.close()
    sender.close()


def test_a_retry_in_flight_survives_the_loss_of_the_file(kit: SqliteKit, broker: Any):
    broker.enqueue(message("retried"))
    consumer = consume(broker)
    held = receive(consumer)
    kit.wipe()
    broker.enqueue(message("new"))

    broker.enqueue(held, delay=0)
    consumer.ack(held)
    consumer.close()

    assert sorted(take_all(broker)) == ["new", "retried"]


# What is told about queues


def test_many_are_enqueued_in_one_transaction_or_not_at_all(broker: Any):
    transactions: list[int] = []
    run = broker._commits.run
    broker._commits.run = lambda operation: (transactions.append(1), run(operation))[1]

    broker.enqueue_many([(message(1), None), (message(2), 60_000)])
    assert len(transactions) == 1
    assert broker.qsize("default") == 2

    with pytest.raises(TypeError):
        broker.enqueue_many([(message(3), None), (message(object()), None)])
    with pytest.raises(dramatiq.QueueNotFound):
        broker.enqueue_many([(message(3), None), (message(4, queue_name="nowhere"), None)])
    assert broker.qsize("default") == 2


def test_the_age_of_the_oldest_message(kit: SqliteKit, broker: Any):
    broker.declare_queue("other")
    assert broker.oldest_message_age_seconds() is None
    # A message that is not due has no age
    broker.enqueue(message(), delay=60_000)
    assert broker.oldest_message_age_seconds() is None

    # One that waits has
    broker.enqueue(message())
    with contextlib.closing(sqlite3.connect(kit.path)) as clock, clock:
        clock.execute(
            "UPDATE messages SET due_at = due_at - 5000, visible_at = visible_at - 5000 WHERE id = 2"
        )
    assert 5 <= broker.oldest_message_age_seconds() < 10
    assert 5 <= broker.oldest_message_age_seconds("default") < 10
    assert broker.oldest_message_age_seconds("other") is None

    # One that is held does not wait
    consumer = consume(broker)
    held = receive(consumer)
    assert broker.oldest_message_age_seconds() is None
    # But it does when it is given back, since when it was due
    consumer.requeue([held])
    consumer.close()
    assert 5 <= broker.oldest_message_age_seconds() < 10


def test_dead_letters_are_listed_replayed_and_discarded(broker: Any):
    broker.declare_queue("other")
    for queue_name in ("default", "other"):
        broker.enqueue(
            Message(queue_name, "any", (queue_name,), {}, {"retries": 20, "traceback": "long ago"})
        )
        consumer = broker.consume(queue_name=queue_name, timeout=100)
        held = receive(consumer)
        held.stuff_exception(RuntimeError("x" * 20_000 + " the end"))
        consumer.nack(held)
        consumer.close()

    first, second = broker.dead_letters()
    assert [first.queue_name, second.queue_name] == ["default", "other"]
    assert broker.dead_letters("other") == [second]
    assert broker.dead_letters(limit=1) == [first]
    assert first.deliveries == 1
    assert first.error.endswith("the end\n")
    assert len(first.error) <= 8000
    assert abs(first.died_at.timestamp() - time.time()) < 60

    # Replaying starts with all retries
    assert broker.replay_dead_letter(first.id)
    assert not broker.replay_dead_letter(first.id)
    consumer = consume(broker)
    replayed = receive(consumer)
    assert (replayed.args, replayed.options) == (("default",), {})
    consumer.ack(replayed)
    consumer.close()

    assert broker.discard_dead_letter(second.id)
    assert not broker.discard_dead_letter(second.id)
    assert broker.dead_letters() == []


def test_joining_waits_for_what_is_delayed_and_gives_up_in_time(broker: Any):
    broker.enqueue(message(), delay=60_000)
    with pytest.raises(QueueJoinTimeout):
        broker.join("default", timeout=50)
    broker.flush("default")
    broker.join("default", timeout=50)


@pytest.mark.parametrize("options", [{"synchronous": "no"}, {"lease_seconds": 0}, {"max_deliveries": 0}])
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(options))):
        SqliteBroker(tmp_path / "queue.db", **options)


def test_many_processes_lose_nothing(kit: SqliteKit):
    # Given two workers and two senders, each a process of its own
    workers = [kit.start_worker("--threads", "8") for _ in range(2)]
    senders = [kit.start("--send", str(first), str(first + 1000)) for first in (0, 1000)]

    # When the senders have sent
    for sender in senders:
        assert sender.wait(timeout=60) == 0
    broker = kit.open()
    kit.actors(broker)
    broker.join("default", timeout=30_000)

    # Then each message ran once, as nobody died
    assert sorted(map(int, kit.noted("record"))) == list(range(2000))
    for worker in workers:
        worker.terminate()
        assert worker.wait(timeout=20) == 0
