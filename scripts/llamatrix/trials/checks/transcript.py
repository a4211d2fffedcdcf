"""Whether a trial's tool calls got documentation."""

import re

from llamatrix.agents.protocol import ToolCall
from llamatrix.agents.trajectory import is_page_request

_FAILED_LOOKUP = re.compile(
    r"^\s*(error|failed|no (documentation|results)\b)", re.IGNORECASE
)


def looked_up_docs(call: ToolCall) -> bool:
    """Return whether this call got documentation from Context7.

    With its back end down the call completes all the same, with an error for its text.
    """
    return (
        call.completed
        and is_page_request(call)
        and bool(call.output.strip())
        and not _FAILED_LOOKUP.match(call.output)
    )
