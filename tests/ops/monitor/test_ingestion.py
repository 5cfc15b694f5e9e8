"""What the emulated ingestion takes and what it refuses."""

import gzip
import subprocess
import sys

import httpx2
import orjson
import pytest

from ops.emulators.monitor import MonitorEmulator
from ops.emulators.monitor.store import EnvelopeStore


def track(monitor, *envelopes: dict, **headers: str) -> httpx2.Response:
    return send(monitor, orjson.dumps(list(envelopes)), **headers)


def send(monitor, body: bytes, **headers: str) -> httpx2.Response:
    return httpx2.post(f"{monitor.endpoint}v2.1/track", content=body, headers=headers)


def test_what_is_taken_is_kept_as_it_came_and_as_a_row(monitor, make_envelope):
    # Given a request with dimensions and a measurement
    envelope = make_envelope(properties={"lightning.event": "e"}, measurements={"timeSinceEnqueued": 12.5})
    # When it is sent, then it is taken
    answer = track(monitor, envelope)
    assert answer.status_code == 200
    assert answer.json() == {"itemsReceived": 1, "itemsAccepted": 1, "errors": []}
    # And it can be read, as it came and as Application Insights shows it
    listed = httpx2.get(f"{monitor.control_url}/envelopes", params={"operation_id": "b" * 32})
    assert listed.json() == [envelope]
    [row] = httpx2.get(f"{monitor.control_url}/tables/requests").json()
    assert (row["duration"], row["success"], row["cloud_RoleName"]) == (1250.0, "True", "web")
    assert orjson.loads(row["customDimensions"]) == {"lightning.event": "e"}
    assert orjson.loads(row["customMeasurements"]) == {"timeSinceEnqueued": 12.5}
    # And nothing else is there
    assert httpx2.get(f"{monitor.control_url}/tables/traces").json() == []
    assert httpx2.get(f"{monitor.control_url}/tables/secrets").status_code == 404


@pytest.mark.parametrize("form", ["gzip", "lines", "one"])
def test_every_form_of_a_body_is_read(monitor, make_envelope, form):
    one = orjson.dumps(make_envelope())
    body = {"gzip": gzip.compress(b"[" + one + b"]"), "lines": one + b"\n" + one, "one": one}[form]
    headers = {"content-encoding": "gzip"} if form == "gzip" else {}
    assert send(monitor, body, **headers).status_code == 200
    assert len(monitor.store.envelopes(base_type="RequestData")) == (2 if form == "lines" else 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": ""}, "'id'"),
        ({"duration": "1 s"}, "duration"),
        ({"ver": 1}, "ver"),
        ({"properties": {"a": 1}}, "no text"),
        ({"properties": {"a": "x" * 8193}}, "too long"),
        ({"measurements": {"a": "1"}}, "no number"),
        ({"key": "00000000-0000-0000-0000-000000000000"}, "instrumentation key"),
        ({"tags": {"ai.cloud.role": 1}}, "no text"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(monitor, make_envelope, change, says):
    answer = track(monitor, make_envelope(**change))
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert says in error["message"]
    assert monitor.store.envelopes() == []


def test_one_wrong_item_does_not_cost_the_others(monitor, make_envelope):
    answer = track(monitor, make_envelope(), make_envelope(id=None))
    assert answer.status_code == 206
    assert [error["index"] for error in answer.json()["errors"]] == [1]
    assert len(monitor.store.envelopes()) == 1


@pytest.mark.parametrize("body", [b"{", b"\x1f\x8b", b"[1"])
def test_what_is_no_body_is_refused(monitor, body):
    assert send(monitor, body).status_code == 400


def test_faults_are_answered(monitor, make_envelope):
    for fault, status in [
        ({"kind": "throttle", "retry_after_seconds": 7}, 429),
        ({"kind": "internal"}, 500),
        ({"kind": "partial", "every": 2, "item_status": 503}, 206),
    ]:
        made = httpx2.post(f"{monitor.control_url}/faults", json={**fault, "count": 1})
        assert made.status_code == 201, made.text
        answer = track(monitor, make_envelope(), make_envelope(), make_envelope())
        assert answer.status_code == status
        assert status != 429 or answer.headers["retry-after"] == "7"
    # the last one was partial: of three, the first and the third are refused
    assert [error["index"] for error in answer.json()["errors"]] == [0, 2]
    assert len(monitor.store.envelopes()) == 1
    monitor.faults.add("drop", when="after", count=1)
    with pytest.raises(httpx2.RemoteProtocolError):
        track(monitor, make_envelope())
    assert len(monitor.store.envelopes()) == 2
    usage = httpx2.get(f"{monitor.control_url}/usage").json()
    assert (usage["429"], usage["items_refused"], usage["items_accepted"]) == (1, 2, 2)


def test_a_token_is_demanded_where_local_authentication_is_off(make_envelope, monitor):
    with MonitorEmulator(key=monitor.key, token="secret-token") as strict:
        assert track(strict, make_envelope()).status_code == 401
        assert track(strict, make_envelope(), authorization="Bearer secret-token").status_code == 200


def test_old_envelopes_give_way(make_envelope, monkeypatch):
    monkeypatch.setattr("ops.emulators.monitor.store.PRUNE_EVERY", 4)
    store = EnvelopeStore(None, max_envelopes=3)
    for number in range(8):
        store.add([make_envelope(name=f"n{number}")])
    assert [each["data"]["baseData"]["name"] for each in store.envelopes()] == ["n5", "n6", "n7"]
    assert store.query("SELECT count(*) FROM requests")[1] == [(3,)]
    store.close()


def test_a_process_of_its_own_keeps_what_it_took(tmp_path, make_envelope):
    command = [sys.executable, "-m", "ops.emulators.monitor", "--data", str(tmp_path)]
    kept = []
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            parts = dict(part.split("=", 1) for part in process.stdout.readline().strip().split(";"))
            envelope = make_envelope(key=parts["InstrumentationKey"])
            url = f"{parts['IngestionEndpoint']}v2.1/track"
            assert httpx2.post(url, json=[envelope]).status_code == 200
            kept.append(parts["InstrumentationKey"])
            process.terminate()
        assert process.returncode == 0
    assert kept[0] == kept[1]
    store = EnvelopeStore(tmp_path / "telemetry.db")
    assert len(store.envelopes()) == 2
    store.close()
