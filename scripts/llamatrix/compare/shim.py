"""The shim: plays a llama-bench that is slower by a set share, or that is broken.

Run as a program in place of llama-bench by the self-test; standard library only:
`python -I -S shim.py PROGRAM WAY AMOUNT [llama-bench's own arguments]`.

- `threads N`: fewer threads.
- `pause SHARE`: stopped for so large a share of the time, a few milliseconds at once,
  so that the delay is proportional to the work.
- `abort 0`: dies as a failed assertion would.
"""

import os
import signal
import sys
import time

_PERIOD_S = 0.02


def paused(program: str, argv: list[str], share: float) -> int:
    """Run the program, stopped for a share of every period; its exit code."""
    pid = os.posix_spawn(program, argv, os.environ)
    while True:
        time.sleep(_PERIOD_S * (1 - share))
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(_PERIOD_S * share)
        os.kill(pid, signal.SIGCONT)


def main() -> None:
    _, program, way, amount, *arguments = sys.argv
    argv = [program, *arguments]
    if way == "threads":
        os.execv(program, [*argv, "-t", amount])  # noqa: S606
    if way == "pause":
        sys.exit(paused(program, argv, float(amount)))
    os.abort()


if __name__ == "__main__":
    main()
