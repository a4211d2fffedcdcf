"""A fake cmake: configures nothing and builds the fake llama-bench under every name."""

import re
import sys
from pathlib import Path

NOTE = Path("commit.txt")
START = "#!/usr/bin/env python3\n"
VERSION = """import sys
if "--version" in sys.argv:
    print("version: 0 (build 0, commit {commit})")
    sys.exit()
"""

if "--build" in sys.argv:
    commit = NOTE.read_text()
    bench = Path(__file__).with_name("llama_bench.py").read_text()
    Path("bin").mkdir()
    for target in sys.argv[sys.argv.index("--target") + 1 :]:
        program = Path("bin") / target
        text = START + VERSION.format(commit=commit)
        program.write_text(text + bench if target == "llama-bench" else text)
        program.chmod(0o755)
else:
    (commit,) = re.findall(r"-DLLAMA_BUILD_COMMIT=(\w+)", " ".join(sys.argv))
    NOTE.write_text(commit)
