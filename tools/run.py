"""Run the notebooks without a browser: ``python -m tools.run [--write] [--only 01] [--cold]``.

Each notebook runs in a fresh kernel of the interpreter that runs this file. With ``--write`` it runs twice, with
an empty and then with a filled cache of embeddings; both times are written into the title cell, and the last run's
outputs are stored. That is a third run where ``$TOKALIGN_DATA`` is set and the notebook uses it.
"""

import argparse
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbformat import NotebookNode

from tools.budget import keep_loop, loop_seconds
from tools.notebooks import NOTEBOOKS, OUTPUT_WAIT, REPOSITORY, WIDGET_VIEW, choose, kernel_environment, read

try:
    import psutil
except ImportError:  # the peak is then the kernel's own, read from /proc
    psutil = None

CACHE = "TOKALIGN_EMBEDDING_CACHE"
DATA = "TOKALIGN_DATA"  # a folder of more data, which a notebook uses where it is set
CELL_TIMEOUT = 1800  # seconds; the very first run may have to fetch a model
SAMPLE_EVERY = 0.2  # seconds between two looks at the memory
RUN_TIME = re.compile(r"^\*Run time on 2 CPU cores:.*$", re.MULTILINE)
STYLED = re.compile(r'<table id="(T_[0-9a-f]+)"')
ADDRESS = re.compile(r" at 0x[0-9a-f]+(?=>)")
SKIPPED = re.compile(r"\bskipped\b")  # what a cell prints where something that it needs is not installed or not at hand
QUESTION = re.compile(r"^\*Question: (.*)\*$", re.MULTILINE)
TABLE = re.compile(r"(<!-- notebooks: .*? -->)\n.*?(<!-- end of notebooks -->)", re.DOTALL)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = ("tags", "cellView", "jupyter")  # cellView folds the set-up cell on Colab


class ThisPython(AsyncKernelManager):
    """Start kernels with the running interpreter, whatever kernel specs are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """The one spec there is."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class PeakMemory(threading.Thread):
    """Watch the memory of a process and its children.

    Parameters
    ----------
    pid : int
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.megabytes = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        """Measure until :meth:`stop` is called."""
        while not self._over.is_set():
            self.megabytes = max(self.megabytes, resident_megabytes(self.pid))
            self._over.wait(SAMPLE_EVERY)

    def stop(self) -> None:
        """Stop looking."""
        self._over.set()
        self.join()


@dataclass
class Outcome:
    """The result of one run of a notebook.

    Parameters
    ----------
    seconds : float
        Kernel start included.
    megabytes : float
        Peak resident memory; 0 where it cannot be read.
    error : str
        Empty when every cell ran.
    """

    seconds: float
    megabytes: float
    error: str = ""


def resident_megabytes(pid: int) -> float:
    """Return the memory a process and its children hold now; without psutil, the process's own peak, or 0.

    Parameters
    ----------
    pid : int

    Returns
    -------
    float
    """
    if psutil is None:
        return _proc_megabytes(pid)
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 1e6
    except psutil.Error:  # a process ended between two calls
        return 0.0


def _proc_megabytes(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(match[1]) * 1024 / 1e6 if match else 0.0


def execute(notebook: NotebookNode, folder: Path, environment: Mapping[str, str], name: str = "notebook") -> Outcome:
    """Run a notebook from top to bottom in a fresh kernel; its outputs are replaced in place.

    Parameters
    ----------
    notebook : NotebookNode
    folder : Path
        Where the kernel runs.
    environment : Mapping[str, str]
        The kernel's.
    name : str
        Shown in the line of progress.

    Returns
    -------
    Outcome
    """
    allow_exceptions(notebook)
    position = 0
    watch: PeakMemory | None = None

    def on_start(**_: object) -> None:
        nonlocal watch
        pid = getattr(client.km.provisioner, "pid", None)
        if pid:
            watch = PeakMemory(pid)
            watch.start()

    def on_cell(cell_index: int, **_: object) -> None:
        nonlocal position
        position = cell_index
        _progress(f"{name}: cell {cell_index + 1} of {len(notebook.cells)}, {time.monotonic() - start:.0f} s")

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        iopub_timeout=OUTPUT_WAIT,
        raise_on_iopub_timeout=True,
        coalesce_streams=True,
        kernel_manager_class=ThisPython,
        kernel_name="python3",
        on_notebook_start=on_start,
        on_cell_start=on_cell,
    )
    start = time.monotonic()
    error = ""
    try:
        client.execute(cwd=str(folder), env=dict(environment))
    except Exception as problem:  # a cell raised, ran too long or killed the kernel: each is a result to report
        error = _report(notebook.cells[position].source, problem)
    finally:
        if watch is not None:
            watch.stop()
        _progress("")
    return Outcome(time.monotonic() - start, watch.megabytes if watch else 0.0, error)


def allow_exceptions(notebook: NotebookNode) -> None:
    """Give nbval's tag for a cell that is meant to raise the name that Jupyter knows, too.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place.
    """
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "nbval-raises-exception" in tags and "raises-exception" not in tags:
            tags.append("raises-exception")


def clean(notebook: NotebookNode) -> None:
    """Drop what a run leaves behind and no reader needs: timings, widget state, stderr, addresses, other kernels.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat_minor = max(notebook.nbformat_minor, 5)
    for number, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{number:02d}")
        kept = {key: cell.metadata[key] for key in CELL_METADATA if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_worth_storing(output)]
            for output in cell.outputs:
                _same_every_run(output.get("data", {}), cell.id)


def _same_every_run(data: dict[str, object], cell_id: str) -> None:
    """Replace what is drawn again with each run: the names of styled tables, the addresses of objects."""
    for kind in ("text/html", "text/plain"):
        text = data.get(kind)
        if isinstance(text, str):
            for number, name in enumerate(dict.fromkeys(STYLED.findall(text))):
                text = text.replace(name, f"T_{cell_id}_{number}")
            data[kind] = ADDRESS.sub("", text)


def _is_worth_storing(output: NotebookNode) -> bool:
    """Progress bars go to stderr or to a widget, and a widget without its kernel shows an error."""
    if output.output_type == "stream":
        return output.name != "stderr"
    return WIDGET_VIEW not in output.get("data", {})


def with_run_time(title: str, first: float, cached: float) -> str:
    """Write two measured times into the title cell.

    Parameters
    ----------
    title : str
        Its source; a line begins with ``*Run time on 2 CPU cores:``.
    first, cached : float
        Seconds.

    Returns
    -------
    str
    """
    if not RUN_TIME.search(title):
        raise ValueError("the title cell has no line that begins with '*Run time on 2 CPU cores:'")
    times = f"{duration(first)} the first time, {duration(cached)} with cached embeddings"
    return RUN_TIME.sub(f"*Run time on 2 CPU cores: {times}.*", title, count=1)


def table_of_contents(notebooks: Mapping[str, NotebookNode]) -> list[str]:
    """Make the README's rows: notebook, the question in its title, first and cached run time.

    Parameters
    ----------
    notebooks : Mapping[str, NotebookNode]
        By file name, in order.

    Returns
    -------
    list[str]
    """
    rows = []
    for name, notebook in notebooks.items():
        title = notebook.cells[0].source
        number, _, heading = title.splitlines()[0].removeprefix("# ").partition(" · ")
        first, _, cached = RUN_TIME.search(title)[0].partition(": ")[2].rstrip(".*").partition(" the first time, ")
        question = QUESTION.search(title)
        asks = question[1] if question else heading
        times = f"{first} | {cached.removesuffix(' with cached embeddings')}"
        rows.append(f"| [{number} {heading.partition(':')[0]}](notebooks/{name}) | {asks} | {times} |")
    return rows


def write_table(readme: Path, folder: Path) -> None:
    """Put the rows between the README's two marks.

    Parameters
    ----------
    readme, folder : Path
    """
    rows = table_of_contents({path.name: read(path) for path in choose(folder, [])})
    text = readme.read_text(encoding="utf-8")
    readme.write_text(TABLE.sub(lambda m: "\n".join([m[1], *rows, m[2]]), text), encoding="utf-8")


def duration(seconds: float) -> str:
    """Write a time as people do: 1 s, 41 s, 3 min."""
    return f"{max(1, round(seconds))} s" if seconds < 120 else f"{round(seconds / 60)} min"


def run_and_write(path: Path) -> Outcome:
    """Run a notebook with an empty and with a filled cache, and store it.

    Both are timed as a reader has it, without a folder of more data. Where there is one and the notebook looks for it,
    a third run with it makes the outputs.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Outcome
        Of the run that failed, or of the slower first one.
    """
    notebook = read(path)
    before = printed(notebook)
    loop = loop_seconds()
    with tempfile.TemporaryDirectory() as cache:
        bare = {name: value for name, value in _environment(cache).items() if name != DATA}
        first = execute(notebook, path.parent, bare, path.stem)
        if first.error:
            return first
        cached = last = execute(notebook, path.parent, bare, f"{path.stem}, cached")
        if os.environ.get(DATA) and any(DATA in cell.source for cell in notebook.cells) and not cached.error:
            last = execute(notebook, path.parent, _environment(cache), f"{path.stem}, with more data")
    lost = newly_skipped(before, printed(notebook))
    if last.error or lost:
        return replace(last, error=last.error or lost)
    try:
        notebook.cells[0].source = with_run_time(notebook.cells[0].source, first.seconds, cached.seconds)
    except ValueError as problem:
        return Outcome(first.seconds, first.megabytes, str(problem))
    clean(notebook)
    nbformat.validate(notebook)
    _replace(path, notebook)
    if path.parent == NOTEBOOKS:
        keep_loop(path, (loop + loop_seconds()) / 2)
    return first


def printed(notebook: NotebookNode) -> dict[str, str]:
    """Return what each code cell has printed, by the cell's id, which an edit of the cell does not change."""
    return {
        cell.get("id", cell.source): "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def newly_skipped(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Say which cell did not do its work in this run, where a stored output shows that it has done it elsewhere.

    Parameters
    ----------
    before, after : Mapping[str, str]
        Of :func:`printed`: as stored, and as just run.

    Returns
    -------
    str
        Empty when no output would be replaced by "skipped"; a cell that is new, or was skipped before, loses nothing.
    """
    lost = [
        cell
        for cell, text in after.items()
        if SKIPPED.search(text) and before.get(cell) and not SKIPPED.search(before[cell])
    ]
    if not lost:
        return ""
    return (
        f"not stored: the cell {lost[0][:60]!r} printed {after[lost[0]].strip()[-80:]!r} where its stored output has "
        "results; provide what it lacks"
    )


def run_once(path: Path, cold: bool) -> Outcome:
    """Run a notebook and leave its file as it is.

    Parameters
    ----------
    path : Path
    cold : bool
        Begin with an empty cache of embeddings instead of the user's.

    Returns
    -------
    Outcome
    """
    with tempfile.TemporaryDirectory() if cold else nullcontext() as cache:
        return execute(read(path), path.parent, _environment(cache), path.stem)


def _environment(cache: str | None) -> dict[str, str]:
    chosen = {CACHE: cache} if cache else {}
    return {**os.environ, **kernel_environment(os.environ), **chosen}


def _replace(path: Path, notebook: NotebookNode) -> None:
    """Write to a temporary file first, so that a full disk cannot destroy the notebook."""
    fresh = path.with_suffix(".ipynb.new")
    nbformat.write(notebook, fresh)
    fresh.replace(path)


def _report(source: str, problem: Exception) -> str:
    name, value = getattr(problem, "ename", type(problem).__name__), getattr(problem, "evalue", str(problem))
    lines = [f"    | {line}" for line in source.splitlines()[:6]]
    return "\n".join([*lines, f"    {name}: {value.strip()[-600:]}"])


def _progress(text: str) -> None:
    """Overwrite one line, if the output is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text:<78}", end="" if text else "\r", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list[str] | None
        The process's own when None.

    Returns
    -------
    int
        0 when there were notebooks and every cell ran.
    """
    parser = argparse.ArgumentParser("python -m tools.run", description="Run the notebooks in order.")
    parser.add_argument("--write", action="store_true", help="run twice, store the outputs and the run times")
    parser.add_argument("--only", nargs="+", default=[], metavar="01", help="how the notebooks' names begin")
    parser.add_argument("--cold", action="store_true", help="begin with an empty cache of embeddings")
    parser.add_argument("--folder", type=Path, default=NOTEBOOKS, help="where they are")
    options = parser.parse_args(arguments)
    paths = choose(options.folder.resolve(), options.only)
    print(f"{'notebook':<40} {'result':<8} {'seconds':>8} {'peak MB':>8}")
    failures = 0
    for path in paths:
        outcome = run_and_write(path) if options.write else run_once(path, options.cold)
        failures += bool(outcome.error)
        result = "FAILED" if outcome.error else "ok"
        print(f"{path.stem:<40} {result:<8} {outcome.seconds:>8.1f} {outcome.megabytes:>8.0f}", flush=True)
        if outcome.error:
            print(outcome.error, flush=True)
    if options.write and not failures and options.folder.resolve() == NOTEBOOKS:
        write_table(REPOSITORY / "README.md", NOTEBOOKS)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
