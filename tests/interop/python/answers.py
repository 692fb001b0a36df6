"""What became of one call, as its caller sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mcp import MCPError
from mcp.types import CallToolResult, TextContent

# Where the server puts its facts for machines.
OUTCOME = "dev.buttress/outcome"

INVALID_PARAMS = -32602

# A result that says `isError` and carries no class is the tool's own word.
TOOL_ERROR = "tool_error"


class Form(Enum):
    """In which form the answer came."""

    RESULT = "result"
    IS_ERROR = "isError result"
    JSON_RPC_ERROR = "JSON-RPC error"
    NONE = "no answer of the server's"


@dataclass(frozen=True, slots=True)
class Answer:
    form: Form
    text: str = ""
    outcome: str = ""
    code: int | None = None

    @classmethod
    def of_tool(cls, result: CallToolResult) -> "Answer":
        if not result.is_error:
            return cls(Form.RESULT)
        text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
        return cls(Form.IS_ERROR, text, outcome_in(result.meta) or TOOL_ERROR)

    @classmethod
    def of_error(cls, error: MCPError) -> "Answer":
        """Tells the server's errors from those that the SDK makes up where no answer came.

        Both arrive as the same exception, with codes of one range. But the server says of all its failures what they
        mean, and of a request at fault by its code.
        """
        outcome = outcome_in(error.data)
        if outcome is None and error.code == INVALID_PARAMS:
            outcome = "client_fault"
        if outcome is None:
            return cls.missing(error)
        return cls(Form.JSON_RPC_ERROR, error.message, outcome, error.code)

    @classmethod
    def missing(cls, error: Exception) -> "Answer":
        return cls(Form.NONE, f"{type(error).__name__}: {error}")


def outcome_in(facts: Any) -> str | None:
    """The class of a failure, where the server told it."""
    if not isinstance(facts, Mapping):
        return None
    outcome = facts.get(OUTCOME)
    return outcome.get("class") if isinstance(outcome, Mapping) else None
