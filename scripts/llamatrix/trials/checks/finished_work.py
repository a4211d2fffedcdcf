"""A parser for `parse_sandboxed`: the order and the quality of finished work.

`finished_work.py EVENT_LOG test-order` and `finished_work.py WORKSPACE quality RUFF`.
"""

import sys
from pathlib import Path

import msgspec

from llamatrix.agents.trajectory import read_trajectory
from llamatrix.trials.checks.quality import Quality, quality
from llamatrix.trials.checks.tdd import TddOrder, tdd_order

TEST_ORDER, QUALITY = "test-order", "quality"


def main() -> None:
    data, what, *ruff = sys.argv[1:]
    answer: TddOrder | Quality
    if what == TEST_ORDER:
        answer = tdd_order(read_trajectory(Path(data)))
    else:
        answer = quality(Path(data), ruff=ruff)
    sys.stdout.write(msgspec.json.encode(answer).decode())


if __name__ == "__main__":
    main()
