"""Cron expressions against an oracle that watches the wall clock minute by minute."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from lightning.domain.cron import next_moment, read_cron

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)

#: What `make test` looks at: whole and half hours, both hemispheres, midnight, three hours, Ramadan.
SAMPLE = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Pacific/Chatham",
    "America/St_Johns",
    "Asia/Tehran",
    "Africa/Cairo",
]

#: Both kinds, at the hours in which clocks are changed.
EXPRESSIONS = [
    "* * * * *",
    "*/30 * * * *",
    "15 */2 * * *",
    "30 2 * * *",
    "*/10 0-3 * * *",
    "0,45 23,0,1,2,3,4 * * *",
    "0 3 * * 0",
    "30 1 25-31 10,3 *",
]


class Oracle:
    """Reads expressions for itself, and tells minute by minute what fires."""

    def __init__(self, expression: str):
        fields = expression.split(" ")
        self.fields = [
            self.values(field, low, high)
            for field, (low, high) in zip(fields, [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)], strict=True)
        ]
        self.follows = fields[1].startswith("*")
        self.any_day = [fields[2] == "*", fields[4] == "*"]

    @staticmethod
    def values(field: str, low: int, high: int) -> set[int]:
        found: set[int] = set()
        for part in field.split(","):
            span, _, step = part.partition("/")
            first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
            found.update(range(int(first), int(last or first) + 1, int(step or 1)))
        return found

    def names(self, wall: datetime) -> bool:
        minutes, hours, days, months, weekdays = self.fields
        in_days, in_weekdays = wall.day in days, wall.isoweekday() % 7 in weekdays
        day = in_days and in_weekdays if any(self.any_day) else in_days or in_weekdays
        return wall.minute in minutes and wall.hour in hours and wall.month in months and day

    def fires(self, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
        """List what fires from one moment on, before another; nothing has fired before."""
        found: list[datetime] = []
        moment, latest = start, start.astimezone(zone).replace(tzinfo=None) - MINUTE
        while moment < end:
            wall = moment.astimezone(zone).replace(tzinfo=None)
            if self.follows:
                fires = self.names(wall)
            else:
                # every minute of the wall clock that was not seen before, those that it jumped over too
                new = itertools.takewhile(lambda each, wall=wall: each <= wall, _minutes(latest + MINUTE))
                fires = any(self.names(each) for each in new)
                latest = max(latest, wall)
            if fires:
                found.append(moment)
            moment += MINUTE
        return found


def _minutes(start: datetime):
    return (start + n * MINUTE for n in itertools.count())


def transitions(zone: ZoneInfo) -> list[datetime]:
    """Find the minutes from 2020 to 2035 in which a zone's offset changes."""
    found: list[datetime] = []
    before = datetime(2020, 1, 1, tzinfo=UTC)
    while before.year < 2036:
        behind = before + timedelta(days=3)
        if before.astimezone(zone).utcoffset() != behind.astimezone(zone).utcoffset():
            low, high = before, behind
            while high - low > MINUTE:
                middle = low + ((high - low) // MINUTE // 2) * MINUTE
                same = middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
        before = behind
    return found


def fired(expression: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    moment = next_moment(expression, zone, start - timedelta(microseconds=1))
    while moment is not None and moment < end:
        found.append(moment)
        moment = next_moment(expression, zone, moment)
    return found


def compare(zone_name: str, expression: str, at: datetime, around: timedelta) -> None:
    zone, oracle = ZoneInfo(zone_name), Oracle(expression)
    start, end = at - around, at + around
    told = fired(read_cron(expression), zone, start, end)
    assert told == oracle.fires(zone, start, end), f"{expression} in {zone_name} at {at}"


@pytest.mark.parametrize("zone", SAMPLE)
def test_changes_of_a_zones_clocks_fire_as_the_oracle_says(zone):
    # an odd step takes changes to both sides
    for number, at in enumerate(transitions(ZoneInfo(zone))[::7]):
        # what repeats each minute is slow to compare, and the same each time
        for expression in EXPRESSIONS[0 if number in {0, 1} else 2 :]:
            compare(zone, expression, at, timedelta(hours=5))


@pytest.mark.timeout(3600)
def test_every_change_of_every_zones_clocks_fires_as_the_oracle_says(pytestconfig):
    if not pytestconfig.getoption("chaos"):
        zones = sorted(available_timezones())[::40]
        expressions, most = ["30 2 * * *", "15 */2 * * *"], 2
    else:
        zones, expressions, most = sorted(available_timezones()), EXPRESSIONS, 100
    changes = 0
    for zone in zones:
        for at in transitions(ZoneInfo(zone))[:most]:
            changes += 1
            for expression in expressions:
                compare(zone, expression, at, timedelta(hours=5))
    assert changes > 5, "no zone changes its clocks: tzdata is missing"


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        # a day on which nothing changes
        ("0 9 * * mon-fri", "2026-11-27T08:00Z", "2026-11-30T08:00Z"),
        # 02:30 is not there on this day: at 03:00, and on the next day as ever
        ("30 2 * * *", "2026-03-28T12:00Z", "2026-03-29T01:00Z"),
        ("30 2 * * *", "2026-03-29T01:00Z", "2026-03-30T00:30Z"),
        # two times in the gap are one
        ("10,50 2 * * *", "2026-03-29T01:00Z", "2026-03-30T00:10Z"),
        # 02:30 comes twice: at the first
        ("30 2 * * *", "2026-10-24T12:00Z", "2026-10-25T00:30Z"),
        ("30 2 * * *", "2026-10-25T00:30Z", "2026-10-26T01:30Z"),
        # what follows the clock fires in both
        ("30 * * * *", "2026-10-25T00:30Z", "2026-10-25T01:30Z"),
        ("@hourly", "2026-03-29T00:00Z", "2026-03-29T01:00Z"),
        # and makes up for nothing
        ("30 */2 * * *", "2026-03-28T23:30Z", "2026-03-29T02:30Z"),
        # the last day of February, the second Monday, and every fourth year
        ("0 0 l 2 *", "2027-02-01T00:00Z", "2027-02-27T23:00Z"),
        ("0 0 * * mon#2", "2026-11-01T00:00Z", "2026-11-08T23:00Z"),
        ("0 0 29 2 *", "2026-11-01T00:00Z", "2028-02-28T23:00Z"),
    ],
)
def test_examples_in_berlin(expression, after, expected):
    found = next_moment(read_cron(expression), BERLIN, datetime.fromisoformat(after))
    assert found == datetime.fromisoformat(expected)


def test_the_calendar_ends():
    assert next_moment("0 0 1 1 *", BERLIN, datetime(9999, 6, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 4,6,9,11 *"])
def test_what_never_comes_is_refused(text):
    with pytest.raises(ValueError, match=r"never comes.*an example"):
        read_cron(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "0 0 * * * *",
        "61 * * * *",
        "*/0 * * * *",
        "r * * * *",
        "h h * * *",
        "0 0 * foo *",
        "@reboot",
        "0 9 * * 1-5 " * 30,
        "0,1" * 100 + " * * * *",
    ],
)
def test_what_is_no_expression_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"example|known are"):
        read_cron(text)


def test_names_mean_what_they_say():
    assert read_cron(" @Daily ") == "0 0 * * *"
    assert read_cron("0  9 * * MON-FRI") == "0 9 * * mon-fri"
