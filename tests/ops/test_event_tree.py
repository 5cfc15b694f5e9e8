"""`lightning events tree`: what it draws of events, whatever these say."""

from rich.console import Console

from ops.commands.event_tree import draw


def node(id, cause=None, **more):
    return {
        "id": id,
        "seq": 1,
        "type": "worker.task",
        "cause": cause,
        "state": "done",
        "name": None,
        "recordedAt": "2026-01-31T12:00:00Z",
        "endedAt": None,
        "seconds": None,
        "run": None,
        "status": None,
        "error": None,
        **more,
    }


def drawn(nodes):
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(draw(nodes))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_each_event_hangs_below_its_cause():
    nodes = [
        node("g", type="worker.group", state="accepted"),
        node("a", "g", name="one", run={"id": "r", "status": "running"}),
        node("b", "g", name="two", seconds=1.26, state="dead", error={"code": "x", "message": "no room"}),
        node("c", "a", type="worker.task.result", status="failed"),
        node("d", "expired"),
    ]
    assert drawn(nodes) == [
        "worker.group accepted g",
        "├── worker.task one done running a",
        "│   └── worker.task.result done failed c",
        "├── worker.task two dead 1.3 s b no room",
        "└── worker.task done d",
    ]


def test_names_paint_nothing():
    [line] = drawn([node("a", name="[red]x[/red]\x1b[2J\nlast")])
    assert line == "worker.task [red]x[/red][2J last done a"


def test_a_tree_that_has_expired_is_none():
    assert drawn([]) == ["nothing is left of it"]
