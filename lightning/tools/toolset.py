"""What the model of a conversation may do, as its user has set it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from lightning.log.turns import ConversationDocument
from lightning.tasks import Budget
from lightning.tools.port import Policy, Scope, Tool
from lightning.tools.table import TOOLS


@dataclass(frozen=True, slots=True)
class Toolset:
    """The tools of a conversation.

    It is read from the conversation's document whenever it is needed: what a model, a file or a result says
    is no part of it.

    Parameters:
      scope: What calls may touch.
      tools: The tools, by name.
      policies: When a person must agree.
      approved: What a person has agreed to before.
    """

    scope: Scope
    tools: Mapping[str, Tool] = field(default_factory=dict[str, Tool])
    policies: Mapping[str, Policy] = field(default_factory=dict[str, Policy])
    approved: frozenset[str] = frozenset()

    @classmethod
    def of(cls, user_id: str, conversation_id: str, known: ConversationDocument | None) -> Self:
        """Read what a conversation allows; nothing where its user has said nothing."""
        if known is None:
            return cls(Scope(user_id, conversation_id))
        budget = known.get("budget")
        scope = Scope(
            user_id,
            conversation_id,
            repo=known.get("repo"),
            network=known.get("network", "none"),
            budget=None if budget is None else Budget.model_validate(budget),
        )
        granted: dict[str, Policy] = {each["name"]: each["approval"] for each in known.get("tools", [])}
        tools = {name: TOOLS[name] for name in granted if name in TOOLS}
        usable = {name: tool for name, tool in tools.items() if not tool.needs_repo or scope.repo is not None}
        return cls(scope, usable, granted, frozenset(known.get("approvedTools", [])))

    def asks(self, tool: Tool) -> bool:
        """Tell whether a person must agree before a tool acts now."""
        policy = "always" if tool.only_asks else self.policies[tool.name]
        return policy == "always" or (policy == "first" and tool.name not in self.approved)
