"""Measure what each architecture costs: ``python data/architectures/cost.py``.

Every step runs in a process of its own, whose seconds and peak of resident memory (GB) go to ``cost.csv``: starting
Python with the package; fetching a model's wheels into an empty cache and unpacking them; converting it there; a load
after that; a load with 1,000 sentences of the course to embed. Every step includes the start. Wheels that lie in the
cache's folder ``wheels`` need no download; for others the network has its share. Gemma's terms must be agreed to first.
What the converted model takes on disk is in GB, too.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import tokalign_helpers as ta
from tokalign_helpers.basics.assets import cache_dir, model_path
from tokalign_helpers.course.claims import write_results

RESULTS = Path(__file__).parent / "cost.csv"
EMBEDDERS = ("smol-last", "gemma-last", "splade-tiny")
IMPORTS = "import tokalign_helpers as ta; from tokalign_helpers.basics import assets; import torch; "
LOAD = "ta.load_embedder({name!r}, dtype='float32')"
STEPS = {
    "start": "",
    "fetch": "[assets.asset_path(part) for part in assets.MODELS[{backbone!r}].parts]",
    "convert": "assets.model_path({backbone!r})",
    "load": LOAD,
    "1,000 sentences": LOAD + ".embed(ta.load_sentences(1000, seed=0), cache=False)",
}


def measured(code: str, cache: Path) -> tuple[float, float]:
    """Run code in a new process; return its seconds and its peak of resident memory in GB."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", IMPORTS + code], env=os.environ | {"TOKALIGN_CACHE": str(cache)})
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{code} ended with {child.returncode}")
    peak = usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return seconds, peak / 1e9


def rows_of(name: str) -> Iterator[dict[str, object]]:
    """Measure the steps of one embedder; it is fetched and converted in a cache of its own."""
    backbone = ta.EMBEDDERS[name].backbone
    model_path(backbone)
    ta.load_sentences(1000, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder)
        (empty / "models").mkdir()
        if (cache_dir() / "wheels").is_dir():
            (empty / "wheels").symlink_to(cache_dir() / "wheels")
        for note in (cache_dir() / "models").glob("*.agreed"):
            (empty / "models" / note.name).write_bytes(note.read_bytes())
        for step, code in STEPS.items():
            cache = empty if step in ("fetch", "convert") else cache_dir()
            seconds, peak = measured(code.format(name=name, backbone=backbone), cache)
            print(f"{name}: {step}: {seconds:.1f} s, {peak:.2f} GB", flush=True)
            yield {"embedder": name, "step": step, "measure": "seconds", "value": seconds}
            yield {"embedder": name, "step": step, "measure": "GB, peak", "value": peak}
        size = sum(file.stat().st_size for file in (empty / "models" / backbone).iterdir())
        yield {"embedder": name, "step": "convert", "measure": "GB, on disk", "value": size / 1e9}


def main() -> None:
    """Measure what is asked for, and keep the rows of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embedders", nargs="*", help=f"of {', '.join(EMBEDDERS)}; default: all")
    asked = parser.parse_args().embedders or EMBEDDERS
    for name in asked:
        table = pd.DataFrame(list(rows_of(name)))
        write_results(RESULTS, table, "python data/architectures/cost.py", by=["embedder"])


if __name__ == "__main__":
    main()
