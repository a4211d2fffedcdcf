"""An agent in a real sandbox calls its model, and what it starts calls in its name.

`python -m tests.proxy.calling BWRAP FOLDER` prints what each was answered: in a
process of its own it can be run as root and as an ordinary user.
"""

import json
import os
import sys
from pathlib import Path

import httpx
from tests.proxy.tapping import CHAT, EVENTS, OPENCODE, REQUEST, streaming
from tests.sandbox.attacking import box

from llamatrix.proxy.agent_process import AgentProcess
from llamatrix.proxy.proxy import Tap
from llamatrix.proxy.serving import serving
from llamatrix.proxy.totals import totals
from llamatrix.sandbox.session import open_sandbox
from llamatrix.sandbox.spec import HOME, inside_path
from llamatrix.sandbox.workspace_archive import pack

CALLER = """
import json, os, subprocess, sys, urllib.error, urllib.request

def call():
    request = urllib.request.Request(
        sys.argv[1], data=sys.argv[2].encode(), headers=json.loads(sys.argv[3])
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

print("child" if "child" in sys.argv else "agent", call(), flush=True)
if len(sys.argv) == 4:
    again = [sys.executable, *sys.argv, "child"]
    subprocess.run(again, check=True)
    os.execv(sys.executable, [sys.executable, *sys.argv, "again"])
"""
"""Called with an argument more, it is the agent's child, or the agent after an `exec`."""


def main() -> None:
    bwrap, folder = (Path(word) for word in sys.argv[1:])
    work = folder / "work"
    work.mkdir()
    (work / "agent.py").write_text(CALLER)
    pack(folder / "files.tar", home={}, work=work)
    complaints = folder / "stderr"
    complaints.touch()
    sandbox = box(bwrap=bwrap, ports=(8099,))
    program = "/trial/work/agent.py"
    url = f"http://127.0.0.1:8099{CHAT}"
    argv = ["/usr/bin/env", "python3", program, url, REQUEST.decode()]
    env = {"PATH": inside_path(), "HOME": str(HOME)}
    job = sandbox.job([*argv, json.dumps(OPENCODE)], env=env)
    transport = httpx.MockTransport(streaming(EVENTS))
    tap = Tap(upstream="http://model", folder=folder / "calls", transport=transport)
    lines: list[str] = []
    with open_sandbox(sandbox, job, complaints=complaints) as session:
        tap.agent = AgentProcess(sandbox=session.process_id, program=program)
        with serving(tap.app(), session.listeners):
            session.begin(folder / "files.tar")
            while not session.over():
                lines += session.hear(wait_s=0.05)
            session.finish(folder / "out.tar")
            lines += session.last_words()
    counted = totals(tap.calls)
    found = {
        "user": os.geteuid(),
        "lines": [line.split() for line in lines],
        "counted": (counted.api_calls, counted.other_calls, counted.generated_tokens),
        "stderr": complaints.read_text(),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
