"""What a process answers to whoever asks for its metrics."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client.parser import text_string_to_metric_families

from lightning.telemetry.scrape import Scrape

TOKEN = "a-token-of-metrics"


@pytest.fixture(scope="module")
def scrape():
    return Scrape(TOKEN)


@pytest.mark.parametrize(
    "shown", [None, "", "Bearer", f"Basic {TOKEN}", "Bearer another", f"Bearer {TOKEN}x", "Bearer ä"]
)
def test_who_does_not_show_the_token_is_told_nothing(scrape, shown):
    told = scrape.answer(shown)
    assert told.status == 401
    assert b"process_" not in told.body


def test_what_is_measured_is_told_in_the_format_of_prometheus(scrape):
    # Given something that counts, and something that takes time, under names and words from outside
    meter = MeterProvider([scrape.reader], shutdown_on_exit=False).get_meter("t")
    meter.create_counter("lightning.things", unit="{thing}").add(2, {"lightning.type": 'a"b\\c\nd'})
    meter.create_histogram("lightning.taken", unit="s").record(1.5)
    # When it is asked for, however the scheme is written
    told = scrape.answer(f"bearer  {TOKEN} ")
    # Then it is there, beside what the process takes
    assert (told.status, told.media_type.split(";")[0]) == (200, "text/plain")
    samples = {
        (sample.name, *sample.labels.items()): sample.value
        for family in text_string_to_metric_families(told.body.decode())
        for sample in family.samples
    }
    assert samples["lightning_things_total", ("lightning_type", 'a"b\\c\nd')] == 2
    assert samples["lightning_taken_seconds_sum",] == 1.5
    assert samples["process_resident_memory_bytes",] > 0
