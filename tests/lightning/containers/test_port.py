"""What no runner takes is refused before any is asked."""

from dataclasses import replace

import pytest

from lightning.containers import Limits, RunSpec
from lightning.errors import Permanent

GOOD = RunSpec("run-1", ["true"])


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        *[
            ({"name": name}, "name")
            for name in ("", "-a", "a-", "a--b", "A", "a_b", "a/b", "..", "a" * 64, "a\n")
        ],
        *[
            ({"image": image}, "reference")
            for image in ("", "../x", "a/../b", "/a", "a b", "-a", "a\n", "a:b:c")
        ],
        ({"command": []}, "neither"),
        ({"command": ["a\0b"]}, "zero byte"),
        *[({"environment": {name: ""}}, "variable") for name in ("", "A=B", "1A", "A B", "A\n")],
        ({"environment": {"A": "\0"}}, "variable"),
        ({"environment": {"A": ""}, "secure_environment": {"A": ""}}, "both"),
        *[
            ({"files": {path: b""}}, "relative")
            for path in ("", "/a", "../a", "a/../../b", "..", "a\0", "a" * 256)
        ],
        ({"files": {"a": bytes(65537)}}, "65536 bytes"),
        ({"files": {str(number): b"" for number in range(65)}}, "64"),
    ],
)
def test_a_bad_spec_is_refused_with_a_reason(change, hint):
    with pytest.raises(Permanent, match=hint) as refused:
        replace(GOOD, **change)
    assert refused.value.code == "run_refused"


@pytest.mark.parametrize("image", ["a", "registry.example:5000/team/agent:1.2", f"a/b@sha256:{'0' * 64}"])
def test_an_image_reference_is_taken(image):
    assert replace(GOOD, image=image, command=()).image == image


@pytest.mark.parametrize(
    "limit",
    [
        {"cpu": 0},
        {"cpu": float("nan")},
        {"memory_mib": 0},
        {"pids": 0},
        {"disk_mib": 0},
        {"wall_seconds": float("inf")},
    ],
)
def test_limits_that_mean_nothing_are_refused(limit):
    with pytest.raises(Permanent, match=next(iter(limit))):
        Limits(**limit)
