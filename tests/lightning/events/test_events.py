"""Reading what is posted: each mistake has its code, and a pointer to it."""

from datetime import UTC, datetime, timedelta

import pytest

from lightning.errors import Forbidden, InvalidEvent
from lightning.events import CLOCK_SKEW, TYPES, read_envelope
from lightning.tasks import works_on_repository

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GOOD = {
    "timestamp": "2026-03-01T11:59:00Z",
    "source": "test",
    "type": "llm.chat",
    "userID": "anna",
    "metadata": {"content": "Hello"},
}


def without(field: str) -> dict:
    return {name: value for name, value in GOOD.items() if name != field}


def test_a_good_event_is_read():
    envelope = read_envelope({**GOOD, "id": "mine"}, now=NOW)
    assert envelope.timestamp == datetime(2026, 3, 1, 11, 59, tzinfo=UTC)
    assert (envelope.id, envelope.type, envelope.userID) == ("mine", "llm.chat", "anna")
    assert envelope.metadata == {"content": "Hello"}


def test_a_task_may_hold_any_input_and_has_the_usual_limits():
    metadata = {"agent": "echo", "input": {"a": None, "b": [1.5, None]}, "resources": {"memoryMiB": 64.0}}
    read = read_envelope({**GOOD, "type": "worker.task", "metadata": metadata}, now=NOW).metadata
    assert read["input"] == metadata["input"]
    assert read["resources"] == {"cpu": 1.0, "memoryMiB": 64, "diskMiB": 512, "pids": 128}
    assert (read["network"], read["timeoutSeconds"]) == ("full", 1800.0)


def test_an_id_is_optional():
    assert read_envelope(GOOD, now=NOW).id is None


def test_a_field_without_a_value_is_left_out():
    metadata = {"content": "Hello", "conversationID": None}
    assert read_envelope({**GOOD, "metadata": metadata}, now=NOW).metadata == {"content": "Hello"}


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        ([], ""),
        ("text", ""),
        (None, ""),
        (without("timestamp"), "/timestamp"),
        (without("source"), "/source"),
        (without("type"), "/type"),
        (without("userID"), "/userID"),
        ({**GOOD, "source": ""}, "/source"),
        ({**GOOD, "source": 1}, "/source"),
        ({**GOOD, "type": None}, "/type"),
        ({**GOOD, "userID": "x" * 257}, "/userID"),
        ({**GOOD, "id": ""}, "/id"),
        ({**GOOD, "id": 7}, "/id"),
        ({**GOOD, "state": "done"}, "/state"),
        ({**GOOD, "a/b~c": 1}, "/a~1b~0c"),
        ({**GOOD, "metadata": None}, "/metadata"),
        ({**GOOD, "metadata": [1]}, "/metadata"),
        (without("metadata"), "/metadata/content"),
        ({**GOOD, "metadata": {}}, "/metadata/content"),
        ({**GOOD, "metadata": {"content": ""}}, "/metadata/content"),
        ({**GOOD, "metadata": {"content": 1}}, "/metadata/content"),
        ({**GOOD, "metadata": {"content": ["a"]}}, "/metadata/content"),
        ({**GOOD, "metadata": {"content": "a", "x": 1}}, "/metadata/x"),
        ({**GOOD, "metadata": {"content": "a", "conversationID": ""}}, "/metadata/conversationID"),
        ({**GOOD, "metadata": {"content": "a", "conversationID": 5}}, "/metadata/conversationID"),
        ({**GOOD, "type": "user.message", "metadata": {"text": "a"}}, "/metadata/content"),
        *(
            ({**GOOD, "type": "worker.task", "metadata": metadata}, f"/metadata{pointer}")
            for metadata, pointer in (
                ({}, ""),
                ({"agent": "echo", "image": "i", "command": ["c"]}, ""),
                ({"image": "i"}, ""),
                ({"command": ["c"]}, ""),
                ({"agent": "../echo"}, "/agent"),
                ({"agent": "echo\n"}, "/agent"),
                ({"image": "i", "command": []}, "/command"),
                ({"image": "i", "command": ["a\0b"]}, "/command"),
                ({"image": "i", "command": ["x" * 20000, "y" * 20000]}, "/command"),
                ({"agent": "echo", "input": "x" * 65536}, "/input"),
                ({"agent": "echo", "environment": {"LIGHTNING_TASK": "x"}}, "/environment"),
                ({"agent": "echo", "environment": {"lightning_task": "x"}}, "/environment"),
                ({"agent": "echo", "environment": {"TRACEPARENT": "x"}}, "/environment"),
                ({"agent": "echo", "environment": {"OPENAI_API_KEY": "x"}}, "/environment"),
                ({"agent": "echo", "environment": {"A=B": "x"}}, "/environment"),
                ({"agent": "echo", "environment": {"A\n": "x"}}, "/environment"),
                ({"agent": "echo", "environment": {"A": "\0"}}, "/environment"),
                ({"agent": "echo", "environment": {"A": 1}}, "/environment/A"),
                ({"agent": "echo", "environment": {"A": "x" * 32768}}, "/environment"),
                ({"agent": "echo", "environment": {f"A{n}": "" for n in range(65)}}, "/environment"),
                ({"agent": "echo", "resources": {"cpu": 0}}, "/resources/cpu"),
                ({"agent": "echo", "resources": {"memoryMiB": 64.5}}, "/resources/memoryMiB"),
                ({"agent": "echo", "resources": {"gpu": 1}}, "/resources/gpu"),
                ({"agent": "echo", "network": "host"}, "/network"),
                ({"agent": "echo", "timeoutSeconds": 0}, "/timeoutSeconds"),
                ({"agent": "echo", "timeoutSeconds": "9"}, "/timeoutSeconds"),
            )
        ),
    ],
)
def test_a_wrong_field_is_pointed_to(raw, pointer):
    with pytest.raises(InvalidEvent) as refused:
        read_envelope(raw, now=NOW)
    assert (refused.value.code, refused.value.pointer) == ("invalid_field", pointer)
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T11:00:00Z", "2026-03-01T11:00:00+00:00"),
        ("2026-03-01t11:00:00z", "2026-03-01T11:00:00+00:00"),
        ("2026-03-01 11:00:00Z", "2026-03-01T11:00:00+00:00"),
        ("2026-03-01T13:00:00+02:00", "2026-03-01T11:00:00+00:00"),
        ("2026-02-28T23:30:00-03:30", "2026-03-01T03:00:00+00:00"),
        ("2026-03-01T11:00:00.25Z", "2026-03-01T11:00:00.250000+00:00"),
        ("2026-03-01T11:00:00.123456789Z", "2026-03-01T11:00:00.123456+00:00"),
    ],
)
def test_timestamps_of_every_form_are_kept_in_utc(text, moment):
    assert read_envelope({**GOOD, "timestamp": text}, now=NOW).timestamp.isoformat() == moment


@pytest.mark.parametrize(
    "value",
    [
        1772366400,
        1772366400.5,
        "1772366400",
        True,
        None,
        {},
        "",
        "yesterday",
        "2026-03-01",
        "20260301T110000Z",
        "2026-W09-7T11:00:00Z",
        "2026-03-01T11:00Z",
        "2026-03-01T11:00:00.Z",
        "2026-03-01T11:00:00+0200",
        "2026-13-01T11:00:00Z",
        "2026-02-30T11:00:00Z",
        "2026-03-01T25:00:00Z",
        "2026-03-01T11:00:00+99:00",
        " 2026-03-01T11:00:00Z",
        "2026-03-01T11:00:00Z\n",
        "٢٠٢٦-03-01T11:00:00Z",  # digits, but not those of the RFC
    ],
)
def test_a_timestamp_that_is_none_is_refused(value):
    with pytest.raises(InvalidEvent) as refused:
        read_envelope({**GOOD, "timestamp": value}, now=NOW)
    assert (refused.value.code, refused.value.pointer) == ("invalid_field", "/timestamp")


def test_numbers_are_told_the_form_that_is_wanted():
    with pytest.raises(InvalidEvent, match="RFC 3339"):
        read_envelope({**GOOD, "timestamp": 1772366400}, now=NOW)


def test_a_missing_zone_is_named():
    with pytest.raises(InvalidEvent, match="zone") as refused:
        read_envelope({**GOOD, "timestamp": "2026-03-01T11:00:00"}, now=NOW)
    assert (refused.value.code, refused.value.pointer) == ("invalid_field", "/timestamp")
    assert not refused.value.message.startswith("Value error")


def test_an_event_of_the_future_is_sent_to_the_schedule():
    later = (NOW + timedelta(minutes=1)).isoformat()
    with pytest.raises(InvalidEvent, match="/api/schedule") as refused:
        read_envelope({**GOOD, "timestamp": later}, now=NOW)
    assert (refused.value.code, refused.value.pointer) == ("timestamp_in_future", "/timestamp")


def test_a_clock_that_is_a_little_fast_is_forgiven():
    edge = NOW + CLOCK_SKEW
    read_envelope({**GOOD, "timestamp": edge.isoformat()}, now=NOW)
    with pytest.raises(InvalidEvent):
        read_envelope({**GOOD, "timestamp": (edge + timedelta(milliseconds=1)).isoformat()}, now=NOW)


def test_the_present_is_that_of_the_clock_by_default():
    read_envelope({**GOOD, "timestamp": datetime.now(UTC).isoformat()})
    with pytest.raises(InvalidEvent):
        read_envelope({**GOOD, "timestamp": (datetime.now(UTC) + timedelta(hours=1)).isoformat()})


def test_an_unknown_type_names_the_known_ones():
    with pytest.raises(InvalidEvent) as refused:
        read_envelope({**GOOD, "type": "llm.chatt"}, now=NOW)
    assert (refused.value.code, refused.value.pointer) == ("unknown_type", "/type")
    named = {
        name
        for name in TYPES
        if name in refused.value.message.removeprefix("unknown type; known are ").split(", ")
    }
    assert named == {name for name, kind in TYPES.items() if kind.posted_by_users}


@pytest.mark.parametrize("type", [name for name, kind in TYPES.items() if not kind.posted_by_users])
def test_events_of_the_platform_are_not_posted(type):
    with pytest.raises(Forbidden) as refused:
        read_envelope({**GOOD, "type": type}, now=NOW)
    assert (refused.value.code, refused.value.pointer) == ("platform_event", "/type")
    assert refused.value.status == 403


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59-02:00"])
def test_a_timestamp_beyond_the_calendar_is_refused(text):
    with pytest.raises(InvalidEvent) as refused:
        read_envelope({**GOOD, "timestamp": text}, now=NOW)
    assert refused.value.pointer == "/timestamp"


TASK = {"agent": "echo"}
MESSAGE = {"type": "user.message", "metadata": {"content": "done"}}


def test_what_follows_from_a_task_is_brought_into_normal_form():
    # Given a task that others follow from, to some depth
    inner = {"type": "worker.task", "metadata": {**TASK, "onFailure": [MESSAGE]}}
    metadata = {**TASK, "onSuccess": [inner], "rollback": {**TASK, "onSuccess": [MESSAGE]}}
    # When it is read, then all of them are as if they had been posted
    read = read_envelope({**GOOD, "type": "worker.task", "metadata": metadata}, now=NOW).metadata
    assert read["onSuccess"][0]["metadata"]["timeoutSeconds"] == 1800.0
    assert read["onSuccess"][0]["metadata"]["onFailure"] == [MESSAGE]
    assert read["rollback"]["network"] == "full"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"onSuccess": [{"type": "nothing", "metadata": {}}]}, "/onSuccess/0/type"),
        ({"onSuccess": [MESSAGE, {"type": "worker.task.result", "metadata": {}}]}, "/onSuccess/1/type"),
        ({"onFailure": [{"type": "user.message", "metadata": {}}]}, "/onFailure/0/metadata/content"),
        ({"onFailure": [{"type": "user.message"}]}, "/onFailure/0/metadata"),
        ({"onFailure": [MESSAGE] * 9}, "/onFailure"),
        (
            {"onFailure": [{"type": "llm.chat", "metadata": {"content": "x", "whenBusy": "interrupt"}}]},
            "/onFailure/0/metadata/whenBusy",
        ),
        (
            {"onSuccess": [{"type": "worker.task", "metadata": {**TASK, "rollback": {"agent": 1}}}]},
            "/onSuccess/0/metadata/rollback/agent",
        ),
        ({"rollback": {}}, "/rollback"),
        ({"rollback": {**TASK, "rollback": TASK}}, "/rollback/rollback"),
        ({"rollback": {**TASK, "onSuccess": [{**MESSAGE, "type": "x"}]}}, "/rollback/onSuccess/0/type"),
        ({"files": {"/etc/passwd": "x"}}, "/files"),
        ({"files": {"a/../../b": "x"}}, "/files"),
        ({"files": {"./a": "x"}}, "/files"),
        ({"files": {"a": "x", "a/b": "y"}}, "/files"),
        ({"files": {"a": "x" * (64 * 1024 + 1)}}, "/files"),
        ({"files": {f"f{n}": "" for n in range(65)}}, "/files"),
    ],
)
def test_what_follows_from_a_task_is_checked_when_it_is_posted(changes, pointer):
    with pytest.raises((InvalidEvent, Forbidden)) as caught:
        read_envelope({**GOOD, "type": "worker.task", "metadata": {**TASK, **changes}}, now=NOW)
    assert caught.value.pointer == f"/metadata{pointer}"


def test_the_tasks_of_a_group_are_as_if_each_had_been_posted():
    # Given a group whose tasks are followed and undone by others
    tasks = [{**TASK, "name": "one", "rollback": TASK}, {**TASK, "onSuccess": [MESSAGE]}]
    metadata = {"tasks": tasks, "onFailure": [{"type": "worker.group", "metadata": {"tasks": [TASK]}}]}
    # When it is read, then all of them are in normal form
    read = read_envelope({**GOOD, "type": "worker.group", "metadata": metadata}, now=NOW).metadata
    assert (read["atMost"], read["cancelOthers"]) == (8, True)
    assert [each["timeoutSeconds"] for each in read["tasks"]] == [1800.0, 1800.0]
    assert read["tasks"][0]["rollback"]["network"] == "full"
    assert read["onFailure"][0]["metadata"]["tasks"][0]["network"] == "full"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"tasks": []}, "/tasks"),
        ({"tasks": [TASK] * 41}, "/tasks"),
        ({"tasks": [{**TASK, "name": "a"}, {**TASK, "name": "a"}]}, ""),
        ({"tasks": [{**TASK, "name": "task-2"}, TASK]}, ""),
        ({"tasks": [{**TASK, "name": "a\nb"}]}, "/tasks/0/name"),
        ({"tasks": [TASK, {"agent": 1}]}, "/tasks/1/agent"),
        ({"tasks": [{**TASK, "rollback": {"agent": 1}}]}, "/tasks/0/rollback/agent"),
        ({"tasks": [{**TASK, "onSuccess": [{"type": "x", "metadata": {}}]}]}, "/tasks/0/onSuccess/0/type"),
        ({"onFailure": [{"type": "worker.group.result", "metadata": {}}]}, "/onFailure/0/type"),
        ({"atMost": 0}, "/atMost"),
        ({"conversationID": "c"}, "/conversationID"),
    ],
)
def test_a_group_is_checked_when_it_is_posted(changes, pointer):
    metadata = {"tasks": [TASK], **changes}
    with pytest.raises((InvalidEvent, Forbidden)) as caught:
        read_envelope({**GOOD, "type": "worker.group", "metadata": metadata}, now=NOW)
    assert caught.value.pointer == f"/metadata{pointer}"


def test_a_group_works_on_a_repository_if_one_of_its_tasks_does():
    for with_repo in ({**TASK, "repo": "r"}, {**TASK, "rollback": {**TASK, "repo": "r"}}):
        assert works_on_repository("worker.group", {"tasks": [TASK, with_repo]})
        follows = [{"type": "worker.group", "metadata": {"tasks": [with_repo]}}]
        assert works_on_repository("worker.task", {**TASK, "onSuccess": follows})
    assert not works_on_repository("worker.group", {"tasks": [TASK]})
