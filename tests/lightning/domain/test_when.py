"""What people may say about when a schedule fires, and what they hear when it is wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from lightning.domain.when import Policies, When, stored

NOW = datetime(2026, 11, 26, 12, 0, 0, 700, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "slots"),
    [
        ({"timestamp": "2026-11-26T15:00:00+02:00"}, ["13:00:00"]),
        ({"cron": "0 15 * * *", "timezone": "Europe/Berlin"}, ["14:00:00", "14:00:00"]),
        ({"every": "PT1H30M"}, ["13:30:00", "15:00:00"]),
        ({"every": 10}, ["12:00:10", "12:00:20"]),
        ({"every": "P1W", "startAt": "2026-11-27T01:00:00Z"}, ["01:00:00", "01:00:00"]),
        ({"cron": "@hourly", "endAt": "2026-11-26T13:00:00Z"}, ["13:00:00"]),
    ],
)
def test_what_is_said_is_what_fires(said, slots):
    # Given what somebody says, written down and read again
    when = When.model_validate(stored(When.model_validate(said)))
    # When the first slots are asked for
    plan, found, slot = when.plan("s", NOW), [], NOW
    while len(found) < 2 and (slot := plan.next(slot)) is not None:
        found.append(f"{slot:%H:%M:%S}")
    # Then they are what was said
    assert found == slots


@pytest.mark.parametrize(
    ("said", "field", "example"),
    [
        ({"every": 9}, "every", "900"),
        ({"every": "P1M"}, "every", "PT15M"),
        ({"every": "PT"}, "every", "PT15M"),
        ({"every": True}, "every", "PT15M"),
        ({"every": float("inf")}, "every", "900"),
        ({"every": "P999999999W"}, "every", "900"),
        ({"cron": "0 0 30 2 *"}, "cron", "0 9 28 2 *"),
        ({"cron": "at nine"}, "cron", "0 9 * * 1-5"),
        ({"timestamp": "tomorrow"}, "timestamp", "2026-01-31T12:00:00Z"),
        ({"timestamp": "2030-01-31T09:00:00"}, "timestamp", "+02:00"),
        ({"cron": "@daily", "timezone": "Mars/Olympus"}, "timezone", "Europe/Berlin"),
        ({"cron": "@daily", "timezone": "../../etc/passwd"}, "timezone", "Europe/Berlin"),
        ({"cron": "@daily", "jitter": -1}, "jitter", "900"),
    ],
)
def test_what_is_wrong_is_named_with_an_example(said, field, example):
    with pytest.raises(ValidationError) as refused:
        When.model_validate(said)
    [error] = refused.value.errors()
    assert error["loc"] == (field,)
    assert example in error["msg"]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"cron": "@daily", "every": 60},
        {"timestamp": "2030-01-31T09:00:00Z", "endAt": "2031-01-31T09:00:00Z"},
        {"cron": "@daily", "startAt": "2031-01-31T09:00:00Z", "endAt": "2030-01-31T09:00:00Z"},
    ],
)
def test_what_contradicts_itself_is_refused(said):
    with pytest.raises(ValidationError, match=r"exactly one|leave them out|before startAt"):
        When.model_validate(said)


def test_policies_stay_as_they_were_written_down():
    said = Policies.model_validate({"overlap": "queue", "catchUp": "all", "catchUpWindow": "PT6H"})
    assert said.catchUpWindow == timedelta(hours=6).total_seconds()
    assert Policies.model_validate(stored(said)) == said
