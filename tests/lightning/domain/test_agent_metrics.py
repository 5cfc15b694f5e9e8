"""What agents measure themselves, as a metric of the platform."""

import json
import os
import subprocess
import sys

PROGRAM = """
import asyncio, json, sys
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from lightning.domain import agent_metrics
from lightning.domain.run_reports import RunReports
from lightning.settings import Settings
from lightning.storage import open_storage

agent_metrics.MAX_NAMES = 3
reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader]))

async def work():
    storage = open_storage(Settings.load({"LIGHTNING_DATA": sys.argv[1]}))
    reports = RunReports(storage)
    run = {"id": "r", "userID": "u", "agent": "echo"}
    for value in (1.0, 2.0):
        await reports.metric(run, "loss", value, "%")
    await reports.metric({**run, "agent": None, "id": "s"}, "loss", 3.0, None)
    for name in "abc":
        await reports.metric(run, name, 4.0, None)
    await storage.close()

asyncio.run(work())
[scope] = [each for one in reader.get_metrics_data().resource_metrics for each in one.scope_metrics]
[metric] = scope.metrics
points = [[point.value, *point.attributes.values()] for point in metric.data.data_points]
print(json.dumps([metric.name, points]))
"""


def test_the_latest_value_is_told_by_agent_and_name_and_the_names_are_bounded(tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)],
        env=clean, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    name, points = json.loads(done.stdout)
    assert name == "lightning.agent.metric"
    assert sorted(points) == [
        [2.0, "echo", "loss", "%"],
        [3.0, "image", "loss", ""],
        [4.0, "echo", "a", ""],
        [4.0, "echo", "other", ""],
    ]
