"""The emulator as a process: its one line, its end, and what survives a kill."""

import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusMessageState
from azure.servicebus.exceptions import MessagingEntityNotFoundError

from ops.emulators.servicebus import Options, ServiceBusEmulator, main
from ops.emulators.servicebus.codec.frames import ACCEPTED, DISPOSITION, TRANSFER
from ops.emulators.servicebus.codec.values import Described, UInt, ULong
from tests.ops.conftest import LIGHTNING, clean_environment
from tests.ops.servicebus.conftest import BOUND_SECONDS
from tests.ops.servicebus.raw import message, session
from tests.ops.servicebus.sdk import sync_client

MODULE = (sys.executable, "-m", "ops.emulators.servicebus")  # imports less than the command, so starts sooner
COMMAND = (LIGHTNING, "emulator", "servicebus")


@contextmanager
def process(*arguments: str, command=MODULE):
    """Run the emulator; gives its process and its connection string."""
    running = subprocess.Popen(
        [*command, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True, env=clean_environment()
    )
    try:
        yield running, running.stdout.readline().strip()
    finally:
        if running.poll() is None:
            running.kill()
        running.wait(BOUND_SECONDS)
        running.stdout.close()


@pytest.mark.parametrize(("number", "command"), [(signal.SIGTERM, COMMAND), (signal.SIGINT, MODULE)])
def test_it_says_one_line_and_ends_when_it_is_told_to(number, command):
    with process(command=command) as (running, line):
        assert line.startswith("Endpoint=sb://127.0.0.1:")
        assert line.endswith(";UseDevelopmentEmulator=true")
        running.send_signal(number)
        assert running.wait(BOUND_SECONDS) == 0
        assert running.stdout.read() == ""


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    window = ("--data", str(tmp_path), "--duplicate-window", "600")
    due = datetime.now(UTC) + timedelta(hours=1)
    # Given a namespace with messages in every state
    with process(*window) as (running, line), sync_client(line) as client:
        sender, receiver = client.get_queue_sender("q"), client.get_queue_receiver("q")
        sender.send_messages([ServiceBusMessage(f"{n}", message_id=f"id-{n}") for n in range(6)])
        number = sender.schedule_messages(ServiceBusMessage("scheduled"), due)[0]
        got = receiver.receive_messages(5, max_wait_time=BOUND_SECONDS)
        assert len(got) == 5
        receiver.complete_message(got[0])
        receiver.abandon_message(got[1])
        receiver.dead_letter_message(got[2], reason="r", error_description="d")
        receiver.defer_message(got[3])  # and got[4] stays locked
        client.get_subscription_receiver("topic", "s").peek_messages(1)
        with client.get_topic_sender("topic") as topic:
            topic.send_messages(ServiceBusMessage("fan"))
        # When it is killed
        running.kill()
        running.wait(BOUND_SECONDS)
    # Then everything that it had said yes to is there
    with process(*window) as (running, line), sync_client(line) as client:
        receiver = client.get_queue_receiver("q")
        left = {str(message): message for message in receiver.peek_messages(10, sequence_number=1)}
        assert sorted(left) == ["1", "3", "4", "5", "scheduled"]
        assert left["1"].delivery_count == 1
        assert left["3"].state is ServiceBusMessageState.DEFERRED
        assert left["scheduled"].sequence_number == number
        assert left["scheduled"].scheduled_enqueue_time_utc == due.replace(
            microsecond=due.microsecond // 1000 * 1000
        )
        dead = client.get_queue_receiver("q", sub_queue="deadletter").peek_messages(5)
        assert [(str(message), message.dead_letter_reason) for message in dead] == [("2", "r")]
        assert len(client.get_subscription_receiver("topic", "s").peek_messages(5)) == 1
        # And numbers and remembered ids go on
        with client.get_queue_sender("q") as sender:
            sender.send_messages(ServiceBusMessage("twice", message_id="id-0"))
            sender.send_messages(ServiceBusMessage("new", message_id="id-new"))
        new = receiver.peek_messages(10, sequence_number=number + 1)
        assert [str(message) for message in new] == ["new"]


async def test_nothing_is_acknowledged_before_it_is_in_the_file(tmp_path):
    gate = threading.Event()
    with ServiceBusEmulator(Options(data=tmp_path)) as emulator:
        async with session(emulator) as client:
            await client.attach("q", 0, receiver=False)
            await client.attach("q", 1, receiver=True)
            client.credit(1, 1)
            # Given a store whose writer is held up
            emulator.call(lambda server: server._store._thread.submit(gate.wait, BOUND_SECONDS))
            # When a message is sent and settled, then neither is answered
            client.transfer(0, 0, message(b"x"))
            delivery_id = (await client.expect(TRANSFER)).number(1)
            accepted = Described(ULong(ACCEPTED), [])
            client.send(DISPOSITION, [True, UInt(delivery_id), None, False, accepted])
            await client.silence()
            # And both are once the writer has written
            gate.set()
            settled = [await client.expect(DISPOSITION) for _ in range(2)]
            assert [frame.field(0) for frame in settled] == [True, False]


def test_one_folder_has_one_emulator(tmp_path):
    with process("--data", str(tmp_path)):
        second = subprocess.run(
            [*MODULE, "--data", str(tmp_path)],
            capture_output=True, text=True, timeout=60, env=clean_environment(), check=False,
        )  # fmt: skip
    assert second.returncode == 2
    assert "another emulator" in second.stderr


def test_declared_entities_and_no_others(tmp_path):
    queue = {"Name": "declared", "Properties": {"LockDuration": "PT30S", "MaxDeliveryCount": 3}}
    namespace = {
        "Name": "any",
        "Queues": [queue],
        "Topics": [{"Name": "t", "Subscriptions": [{"Name": "s"}]}],
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"UserConfig": {"Namespaces": [namespace]}}))
    with process("--config", str(file), "--strict") as (_running, line), sync_client(line) as client:
        with client.get_queue_sender("declared") as sender:
            sender.send_messages(ServiceBusMessage("x"))
        with client.get_queue_receiver("declared") as receiver:
            message = receiver.receive_messages(1, max_wait_time=BOUND_SECONDS)[0]
            assert 0 < (message.locked_until_utc - datetime.now(UTC)).total_seconds() <= 30
        for other in (client.get_queue_receiver("other"), client.get_subscription_receiver("t", "other")):
            with pytest.raises(MessagingEntityNotFoundError):
                other.receive_messages(1, max_wait_time=1)


@pytest.mark.parametrize(
    ("entity", "says"),
    [
        ({"Name": "q", "Properties": {"LockDuration": "30"}}, "'30' is no duration"),
        ({"Name": "q", "Properties": {"LockDuration": "PT6M"}}, "at most 300 seconds"),
        ({"Name": "q", "Properties": {"MaxDeliveryCount": 0}}, "from 1 to 2000"),
        ({"Name": "q", "Properties": {"RequiresSession": True}}, "RequiresSession of 'q' is not emulated"),
        ({"Name": "q", "Properties": {"Colour": "red"}}, "no property Colour"),
        ({"Properties": {}}, "needs a Name"),
    ],
)
def test_a_wrong_declaration_is_told_what_is_wrong(tmp_path, capsys, entity, says):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"UserConfig": {"Namespaces": [{"Queues": [entity]}]}}))
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(file)])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_a_filter_that_is_not_emulated_is_refused_by_name(tmp_path, capsys):
    rule = {"Name": "r", "Properties": {"FilterType": "Sql"}}
    topic = {"Name": "t", "Subscriptions": [{"Name": "s", "Rules": [rule]}]}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"UserConfig": {"Namespaces": [{"Topics": [topic]}]}}))
    with pytest.raises(SystemExit):
        main(["--config", str(file)])
    assert "the filter 'Sql' of subscription 's' is not emulated" in capsys.readouterr().err


def test_a_wrong_fault_or_port_is_told(capsys, emulator):
    with pytest.raises(SystemExit):
        main(["--fault", '{"kind": "flood", "operation": "send"}'])
    assert "kind must be one of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--port", emulator.connection_string.split(";")[0].rpartition(":")[2]])
    assert "in use" in capsys.readouterr().err
