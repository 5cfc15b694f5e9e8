"""The depth of the queues as a metric."""

import json
import os
import subprocess
import sys

PROGRAM = """
import json, sys
from pathlib import Path
import dramatiq
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from brokers import SqliteBroker
from worker.queue_depth import QueueDepth

reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader]))
broker = SqliteBroker(Path(sys.argv[1]) / "queue.db", middleware=[])
for name in ("one", "two"):
    dramatiq.actor(lambda: None, actor_name=name, queue_name=name, broker=broker)
for _ in range(3):
    broker.get_actor("one").send()
depth = QueueDepth(broker, ["one", "two"])

def told():
    data = reader.get_metrics_data()
    scopes = [] if data is None else [each for one in data.resource_metrics for each in one.scope_metrics]
    depths = [each for scope in scopes for each in scope.metrics if each.name == "lightning.queue.depth"]
    points = [point for each in depths for point in each.data.data_points]
    return {point.attributes["lightning.queue"]: point.value for point in points}

before = told()
depth.close()
broker.close()
print(json.dumps([before, told()]))
"""


def test_each_queue_tells_how_many_messages_it_has_until_the_clock_ends(tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)],
        env=clean, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [{"one": 3, "two": 0}, {}]
