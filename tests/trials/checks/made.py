"""Sources and event logs made for tests, in the forms the real ones have."""

import json

from llamatrix.trials.checks.sources import Source


def source(text: str, name: str = "script.py") -> Source:
    return Source(name=name, text=text)


def event(
    tool: str,
    given: object,
    output: str = "",
    *,
    status: str = "completed",
    exit_code: int | None = None,
) -> str:
    """One `tool_use` line as OpenCode prints it."""
    state = {
        "status": status,
        "input": given,
        "output" if status == "completed" else "error": output,
        "metadata": {} if exit_code is None else {"exit": exit_code},
        "time": {"start": 1, "end": 2},
    }
    part = {"type": "tool", "tool": tool, "callID": "call", "state": state}
    return json.dumps({"type": "tool_use", "timestamp": 1, "part": part})


def write(name: str, text: str) -> str:
    return event("write", {"filePath": name, "content": text}, "Wrote file.")


def bash(command: str, output: str, exit_code: int = 0) -> str:
    return event("bash", {"command": command}, output, exit_code=exit_code)
