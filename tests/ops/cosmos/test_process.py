"""The emulator as a process: its one line, its end, and what it keeps when it is killed."""

import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.cosmos import CosmosClient, PartitionKey

from ops.emulators.cosmos import CosmosEmulator, main
from tests.ops.cosmos.conftest import document, refused

LIGHTNING = str(Path(sys.executable).with_name("lightning"))
BOUND_SECONDS = 30


@contextmanager
def running(*arguments: str):
    """Run the emulator. Gives the process and its connection string."""
    command = [LIGHTNING, "emulator", "cosmos", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def container_of(connection_string: str):
    with CosmosClient.from_connection_string(connection_string, enable_endpoint_discovery=False) as client:
        yield client.get_database_client("lightning").get_container_client("events")


def test_what_was_answered_is_there_after_a_kill(tmp_path):
    # Given an emulator with a folder, and documents that were written, changed and deleted
    with running("--data", str(tmp_path / "data"), "--ranges", "2") as (process, text):
        assert text.startswith("AccountEndpoint=http://127.0.0.1:")
        assert text.endswith(";")
        with CosmosClient.from_connection_string(text, enable_endpoint_discovery=False) as client:
            unique = {"uniqueKeys": [{"paths": ["/name"]}]}
            container = client.create_database("lightning").create_container(
                "events", PartitionKey("/userID"), unique_key_policy=unique, default_ttl=-1
            )
            etag = container.create_item(document("kept", name="kept"))["_etag"]
            container.create_item(document("gone", name="gone"))
            container.create_item(document("short", name="short", ttl=1))
            batch = [
                ("delete", ("gone",)),
                ("create", (document("made", name="made"),)),
                ("delete", ("made",)),
                ("create", (document("made", name="again"),)),
            ]
            written = container.execute_item_batch(batch, "ada")
            token = written.get_response_headers()["x-ms-session-token"]

        # When it is killed, and another takes the folder over
        process.send_signal(signal.SIGKILL)
        process.wait(BOUND_SECONDS)
    assert stat.S_IMODE((tmp_path / "data" / "cosmos.db").stat().st_mode) == 0o600
    with running("--data", str(tmp_path / "data")) as (process, text):
        with container_of(text) as container:
            # Then everything is as it was: documents, etags, unique values, progress and the key
            assert container.read_item("kept", "ada", session_token=token)["_etag"] == etag
            names = [item["name"] for item in container.query_items("SELECT * FROM c", partition_key="ada")]
            assert [name for name in names if name != "short"] == ["kept", "again"]
            refused(409, container.create_item, document("other", name="kept"))
            created = container.create_item(document("other", name="gone"))
            progress = created.get_response_headers()["x-ms-session-token"]
            assert progress.partition("#")[2] > token.partition("#")[2]
            assert created["_rid"] not in {
                written[1]["resourceBody"]["_rid"],
                written[3]["resourceBody"]["_rid"],
            }
        process.terminate()
        assert process.wait(BOUND_SECONDS) == 0


def test_options_reach_the_emulator_and_the_interrupt_ends_it(tmp_path):
    certificate = tmp_path / "emulator.pem"
    fault = '{"kind": "unavailable", "operations": ["read"]}'
    with running("--certificate", str(certificate), "--fault", fault, "--key", "a2V5") as (process, text):
        assert text.startswith("AccountEndpoint=https://127.0.0.1:")
        assert "AccountKey=a2V5;" in text
        assert certificate.read_text().startswith("-----BEGIN CERTIFICATE-----")
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND_SECONDS) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ranges", "0"], "above 0"),
        (["--fault", '{"kind": "flood"}'], "kind must be one of"),
        (["--key", "no base64!"], "base64"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_serves_one_emulator_at_a_time(tmp_path, capsys):
    with CosmosEmulator(data=tmp_path), pytest.raises(SystemExit):
        main(["--data", str(tmp_path)])
    assert "locked" in capsys.readouterr().err
