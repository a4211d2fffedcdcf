#!/usr/bin/env python3
"""A fake OpenCode 1.18.33 with a fault reported by users, which replaces @WAY@.

It runs inside the sandbox and cannot read files of the test.
"""

import json
import sys
import time

WAY = "@WAY@"
TOKENS = {"total": 0, "input": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}


def say(kind: str, **part: object) -> None:
    event = {"type": kind, "timestamp": 1, "sessionID": "ses_x", **part}
    print(json.dumps(event), flush=True)


def finish(reason: str, output: int) -> None:
    tokens = {**TOKENS, "output": output}
    say("step_finish", part={"type": "step-finish", "reason": reason, "tokens": tokens})


if "--version" in sys.argv:
    print("1.18.33")
    sys.exit(0)
sys.stdin.read()
match WAY:
    case "exit0":  # the model is not found: an error, but exit code 0
        message = "Model not found: local/qwen35-27b. Did you mean: local/qwen35-27b?"
        say("error", error={"name": "UnknownError", "data": {"message": message}})
        print("ProviderModelNotFoundError", file=sys.stderr)
    case "exit0-silent":  # nothing on standard output, an error on standard error
        print("NotFoundError: NotFoundError\n data: {", file=sys.stderr)
        print('  message: "Session not found: ses_x",\n},', file=sys.stderr)
    case "unknown":  # the stream closed without tokens or an error
        say("step_start", part={"type": "step-start"})
        finish("unknown", 0)
    case "hang":  # the work is done, but the process does not exit
        say("step_start", part={"type": "step-start"})
        say("text", part={"type": "text", "text": "Done."})
        finish("stop", 12)
        time.sleep(3600)
    case "silent-start":  # no request and no event, forever
        time.sleep(3600)
    case _:
        sys.exit(f"no such way: {WAY}")
