"""A backlog is no loss: the sweep sends hardly anything of it again."""

import pytest

from ops.chaos.backlog import run_backlog
from ops.chaos.queues import FileQueue, ServiceBusProcess

pytestmark = pytest.mark.timeout(1200)


@pytest.mark.parametrize("broker", ["sqlite", pytest.param("servicebus", marks=pytest.mark.chaos)])
def test_the_sweep_leaves_a_backlog_alone(tmp_path, broker, request):
    # Given events that wait longer than the sweep is patient, as no worker takes them up
    events = 50_000 if request.config.getoption("--chaos") else 1000
    # When the workers go on
    queue = FileQueue() if broker == "sqlite" else ServiceBusProcess(durable=True)
    resent = run_backlog(tmp_path / "data", events=events, queue=queue)
    # Then all are done, and the sweep has sent less than one in twenty again
    assert resent.done == events
    assert resent.share < 0.05, resent
