#!/usr/bin/env python3
"""Plays OpenCode 1.18.33 as strangers met it, in the way that stands in for @WAY@.

It runs inside the sandbox, where no file of the test's is seen.
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
    case "exit0":  # the model is not found: an error, and exit code 0
        message = "Model not found: local/qwen35-27b. Did you mean: local/qwen35-27b?"
        say("error", error={"name": "UnknownError", "data": {"message": message}})
        print("ProviderModelNotFoundError", file=sys.stderr)
    case "exit0-silent":  # nothing on standard output, an error on the other
        print("NotFoundError: NotFoundError\n data: {", file=sys.stderr)
        print('  message: "Session not found: ses_x",\n},', file=sys.stderr)
    case "unknown":  # the stream closed without a word, no tokens, no error
        say("step_start", part={"type": "step-start"})
        finish("unknown", 0)
    case "hang":  # all is done, and the process stays
        say("step_start", part={"type": "step-start"})
        say("text", part={"type": "text", "text": "Done."})
        finish("stop", 12)
        time.sleep(3600)
    case "silent-start":  # no request, no event, for ever
        time.sleep(3600)
    case _:
        sys.exit(f"no such way: {WAY}")
