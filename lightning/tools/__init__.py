"""What a model may do in a conversation: each tool with its arguments, its effect and its policy."""

from lightning.tools.offer import MAX_RESULT_CHARS, arguments_of, bounded, specs
from lightning.tools.port import Acted, Asked, Call, InvalidCall, Parts, Policy, Scope, Tool
from lightning.tools.table import TOOLS
from lightning.tools.toolset import Toolset

__all__ = [
    "MAX_RESULT_CHARS",
    "TOOLS",
    "Acted",
    "Asked",
    "Call",
    "InvalidCall",
    "Parts",
    "Policy",
    "Scope",
    "Tool",
    "Toolset",
    "arguments_of",
    "bounded",
    "specs",
]
