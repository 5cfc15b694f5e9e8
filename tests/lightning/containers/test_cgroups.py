"""Where control groups can be made, and what is said where they cannot."""

from lightning.containers.sandbox import SandboxRunner
from lightning.shim.cgroups import Group, Place, find, remove


def mount(tmp_path, name: str, kind: str, options: str) -> str:
    (tmp_path / name).mkdir(exist_ok=True)
    return f"cgroup {tmp_path / name} {kind} rw,nosuid,{options} 0 0\n"


def test_version_2_is_taken_where_a_group_above_hands_its_controllers_down(tmp_path):
    # Given a unified hierarchy in which only a group above this process's own has controllers for children
    mounts = mount(tmp_path, "unified", "cgroup2", "nsdelegate")
    own = tmp_path / "unified/system.slice/lightning.service"
    own.mkdir(parents=True)
    (own / "cgroup.subtree_control").write_text("\n")
    (own.parent / "cgroup.subtree_control").write_text("cpu io memory pids\n")
    (tmp_path / "unified/cgroup.subtree_control").write_text("cpu memory pids\n")
    # When a place is looked for, then it is the nearest one above
    place = find("0::/system.slice/lightning.service\n", mounts)
    assert place == Place(2, dict.fromkeys(["cpu", "memory", "pids"], str(own.parent)))


def test_version_1_stands_in_where_version_2_has_no_controllers(tmp_path):
    mounts = mount(tmp_path, "unified", "cgroup2", "nsdelegate")
    mounts += mount(tmp_path, "memory", "cgroup", "memory") + mount(tmp_path, "pids", "cgroup", "pids")
    (tmp_path / "memory/own").mkdir()
    place = find("8:pids:/elsewhere\n4:memory:/own\n0::/\n", mounts)
    assert place == Place(1, {"memory": str(tmp_path / "memory/own"), "pids": str(tmp_path / "pids")})


def test_without_memory_and_pids_there_is_no_place(tmp_path):
    mounts = mount(tmp_path, "memory", "cgroup", "memory") + mount(tmp_path, "cpu", "cgroup", "cpu,cpuacct")
    assert find("4:memory:/\n3:cpu,cpuacct:/\n0::/\n", mounts) == Place(0, {})


def test_a_group_of_version_2_has_the_limits(tmp_path):
    # Given a place as the kernel shows it, whose groups have their files at once
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("memory.swap.max", "memory.oom.group", "cpu.max"):
        (folder / name).touch()
    group = Group(Place(2, dict.fromkeys(["cpu", "memory", "pids"], str(tmp_path))), "run")
    # When it is made
    group.create(memory_bytes=1 << 20, pids=7, cpu=0.5)
    # Then everything is bounded, and swap is no way around it
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "memory.max": str(1 << 20),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "cpu.max": "50000 100000",
        "pids.max": "9",
    }
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 0\n")
    assert not group.killed_for_memory()
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 1\n")
    assert group.killed_for_memory()


def test_removing_what_is_not_there_is_no_error(tmp_path):
    remove([str(tmp_path / "never")])


def test_the_operator_is_told_what_holds():
    said = SandboxRunner.limits_in_force()
    place = find()
    assert said.keys() == {"memory", "pids", "cpu"}
    expected = f"version {place.version}" if place.version else "rlimit"
    assert expected in said["memory"]
    assert expected in said["pids"]
