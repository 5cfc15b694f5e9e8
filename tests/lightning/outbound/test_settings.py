"""What the operator says about webhooks."""

import pytest

from lightning.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIGHTNING_WEBHOOK_ALLOW", "0.0.0.0/0"),
        ("LIGHTNING_WEBHOOK_ALLOW", "hooks.internal,169.254.169.254"),
        ("LIGHTNING_WEBHOOK_ALLOW", "https://hooks.internal/"),
        ("LIGHTNING_WEBHOOK_RETRIES", "soon"),
        ("LIGHTNING_WEBHOOK_RETRIES", "5,,30"),
        ("LIGHTNING_WEBHOOK_RETRIES", "5,-1"),
        ("LIGHTNING_WEBHOOK_RETRIES", "nan"),
        ("LIGHTNING_WEBHOOK_TIMEOUT", "0"),
        ("LIGHTNING_WEBHOOK_THREADS", "0"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(name, value):
    with pytest.raises(SettingsError) as refused:
        Settings.load({name: value})
    assert [problem.name for problem in refused.value.problems] == [name]
    assert len(value) < 4 or value not in str(refused.value)


def test_the_usual_retries_take_a_day():
    waits = [float(wait) for wait in Settings.load({}).webhook_retries.split(",")]
    assert 23 < sum(waits) / 3600 <= 24
    assert waits == sorted(waits)
