"""A fake `uv run` that uses this Python, where every package is already installed.

It ignores the project's `pyproject.toml` and `--with`.
"""

import os
import sys

words = sys.argv[1:]
if words[:1] != ["run"]:
    sys.exit("fake uv: only `uv run` is played")
words = words[1:]
while words[:1] == ["--with"]:
    words = words[2:]
if words[0] == "python":
    words = words[1:]
elif words[0] == "pytest":
    words = ["-P", "-m", *words]  # the program, unlike the module, adds no folder
elif not words[0].endswith(".py"):
    print(f"error: Failed to spawn: `{words[0]}`", file=sys.stderr)
    sys.exit(2)
os.execv(sys.executable, [sys.executable, *words])  # noqa: S606
