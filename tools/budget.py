"""How long a notebook may take: twice the time that its own title cell states, on a machine of the same speed.

Machines differ, so a short loop of matrix products is timed beside the notebooks: by ``make run WRITE=1``, which
writes the title's times and keeps the loop's in ``budget.json``, and by the pytest plugin
``tests/notebooks/nbval_budget.py``, which compares.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

from tools.notebooks import kernel_environment, read

LOOPS = Path(__file__).with_name("budget.json")
TIMES = 2.0  # how much longer than its title says a notebook may take
SLACK = 20.0  # seconds; a start of the kernel on a busy disk
FIRST = re.compile(r"^\*Run time on 2 CPU cores: (\d+) (s|min) the first time", re.MULTILINE)
LOOP = """
import time, numpy
a, b = numpy.ones((1024, 1536), 'float32'), numpy.ones((1536, 1536), 'float32')
times = []
for _ in range(40):
    start = time.perf_counter()
    a @ b
    times.append(time.perf_counter() - start)
print(sum(times[5:]))
"""


def loop_seconds() -> float:
    """Time the loop in a process of its own, with the kernels' number of threads.

    Returns
    -------
    float
        Median of three.
    """
    environment = {**os.environ, **kernel_environment(os.environ)}
    runs = [subprocess.check_output([sys.executable, "-c", LOOP], env=environment) for _ in range(3)]
    return statistics.median(map(float, runs))


def stated_seconds(path: Path) -> float | None:
    """Read the first run's time out of a notebook's title cell; None where there is none."""
    match = FIRST.search(read(path).cells[0].source)
    return float(match[1]) * (60 if match[2] == "min" else 1) if match else None


def allowed_seconds(stated: float, loop_then: float, loop_now: float) -> float:
    """Return how long a notebook may take here.

    Parameters
    ----------
    stated : float
        In its title, seconds.
    loop_then, loop_now : float
        The loop's seconds where the title was written, and here. A slower machine gets more, a quicker one not less.

    Returns
    -------
    float
    """
    return TIMES * stated * max(1.0, loop_now / loop_then) + SLACK


def kept_loops() -> dict[str, float]:
    """Return the loop's seconds by notebook, as they were when its title was written."""
    return json.loads(LOOPS.read_text(encoding="utf-8")) if LOOPS.is_file() else {}


def keep_loop(path: Path, seconds: float) -> None:
    """Store the loop's time beside which a notebook's title was written."""
    kept = dict(sorted((kept_loops() | {path.name: round(seconds, 3)}).items()))
    LOOPS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
