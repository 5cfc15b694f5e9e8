"""How a group ended, in words for people and in one that never changes."""

from collections.abc import Mapping, Sequence
from typing import Final

from actors.group_members import Member
from lightning.groups import GroupResultMetadata, MemberResult, listed
from lightning.metadata import Problem
from lightning.tasks import Status

#: What undid a task, and how that ended, by the id of the task.
Undone = Mapping[str, tuple[str, Status]]

NOTHING: Final[Undone] = {}


def succeeded(group_id: str, members: Sequence[Member]) -> GroupResultMetadata:
    """Tell that all tasks of a group succeeded."""
    number = len(members)
    message = "Its task succeeded." if number == 1 else f"All {number} tasks succeeded."
    results = [member.result() for member in members]
    return GroupResultMetadata(groupID=group_id, status="succeeded", message=message, results=results)


def failed(group_id: str, members: Sequence[Member], undone: Undone) -> GroupResultMetadata:
    """Tell that a task of a group did not succeed, and what was undone of the others."""
    results = [_with_rollback(member.result(), undone) for member in members]
    # the first to fail, by the log: cancelled ones followed from it
    order = sorted((each for each in members if each.failed), key=_seq)
    culprits = [each.result() for each in order]
    culprit = next((each for each in culprits if each.status != "cancelled"), culprits[0])
    parts = [f"{culprit.name} failed: {_sentence(culprit.message)}"]
    parts += _of("Cancelled", [each.name for each in results if each.status == "cancelled"])
    parts += _of("Not started", [each.name for each in results if each.status == "not_started"])
    parts += _of("Undone", [each.name for each in results if each.rollback == "succeeded"])
    parts += _of("Could not be undone", [each.name for each in results if _resists(each)])
    parts += _of("Done, and has no rollback", [each.name for each in results if _stays(each)])
    error = Problem(code="task_failed", message=parts[0])
    return GroupResultMetadata(
        groupID=group_id, status="failed", message=" ".join(parts), results=results, error=error
    )


def given_up(group_id: str, members: Sequence[Member], error: Problem) -> GroupResultMetadata:
    """Tell that the platform gave a group up."""
    results = [member.result() for member in members]
    message = f"The group was given up: {_sentence(error.message)} What its tasks did stays."
    return GroupResultMetadata(
        groupID=group_id, status="failed", message=message, results=results, error=error
    )


def _with_rollback(result: MemberResult, undone: Undone) -> MemberResult:
    if result.taskID not in undone:
        return result
    task, status = undone[result.taskID]
    return result.model_copy(update={"rollbackID": task, "rollback": status})


def _resists(result: MemberResult) -> bool:
    return result.rollback not in {None, "succeeded"}


def _stays(result: MemberResult) -> bool:
    return result.status == "succeeded" and result.rollback is None


def _of(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what}: {listed(names)}."] if names else []


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _seq(member: Member) -> int:
    return 0 if member.told is None else member.told["seq"]
