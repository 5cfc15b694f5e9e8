"""One thing that is wrong in a store, and what a person does about it."""

from dataclasses import dataclass
from typing import Final

_BACKUP: Final = "restore this user's documents from a backup or an export"
_EXPIRED: Final = f"{_BACKUP}; where LIGHTNING_EXPIRE_DAYS once removed them, check with --expired"
_ANEW: Final = "`lightning cancel` it, then `lightning replay` it"

#: What is wrong, and what is to be done.
REMEDIES: Final = {
    "unreadable": _BACKUP,
    "head_missing": _BACKUP,
    "place_missing": _EXPIRED,
    "place_twice": _BACKUP,
    "place_beyond_head": _BACKUP,
    "counters_differ": _EXPIRED,
    "cause_missing": _EXPIRED,
    "cause_later": _BACKUP,
    "root_missing": _EXPIRED,
    "root_differs": _BACKUP,
    "output_missing": _EXPIRED,
    "output_of_another": _BACKUP,
    "claim_too_long": f"a clock was wrong: {_ANEW}, or wait until the claim is over",
    "looked_at_too_late": f"a clock was wrong: {_ANEW}",
    "never_looked_at": _ANEW,
    "not_over": _BACKUP,
    "turn_missing": _BACKUP,
    "turn_over": _BACKUP,
    "turn_twice": _BACKUP,
    "turn_held": _ANEW,
    "turn_not_queued": _ANEW,
    "conversation_misnamed": _BACKUP,
    "delivery_missing": _EXPIRED,
    "account_misnamed": f"{_BACKUP}; nobody can log in by this name",
    "moved": "stop the platform, then check again",
    "import_unfinished": "run `lightning storage import` with the same directory again, until it is done",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Parameters:
      code: A stable word for the case, one of `REMEDIES`.
      user_id: Whose documents; empty where it is nobody's.
      detail: What is wrong.
    """

    code: str
    user_id: str
    detail: str

    @property
    def remedy(self) -> str:
        """What is to be done about it."""
        return REMEDIES[self.code]
