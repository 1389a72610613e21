"""Each kind of submission gets its row, none is right without deserving it, none ends the run, nothing stays behind."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from tokalign_helpers.exercises import choice
from tokalign_helpers.exercises.grader import NOT_JUDGED, kernel
from tokalign_helpers.exercises.grader.command import COLUMNS, Worker, grade_all, printable
from tokalign_helpers.exercises.grader.kernel import landlock_version
from tokalign_helpers.exercises.grader.submission import KEEP, LARGEST, find_answers
from tokalign_helpers.exercises.grader.wire import LONGEST, Channel, decode, encode

pytestmark = pytest.mark.slow  # a process, or several, for each submission
IMPORT = "from tokalign_helpers.exercises import ex04 as ex"
RIGHT = "def score(query, document):\n    return sum(w * document.get(t, 0.0) for t, w in query.items())"
OUTSIDE = "{outside}"
CHECK = "ex.q2.check(score)"
TOKEN = "a-token-of-the-teacher"
NO_HOOK = "import tokalign_helpers.exercises.grader.kernel as k\nk._problem = lambda *given: ''\n"
THROUGH_C = "import ctypes\nc = ctypes.CDLL(None)\n"
# What the second answer does, and the row it must get.
ANSWERS = {
    "right": (RIGHT, "right"),
    "right_in_numpy": (f"import numpy\n{RIGHT}\nown = score\nscore = lambda q, d: numpy.float64(own(q, d))", "right"),
    "wrong": ("def score(query, document):\n    return 1.0", "wrong"),
    "empty": ("score = ...", "empty"),
    "no_function": ("score = None", "wrong"),
    "nan": ("score = lambda q, d: float('nan')", "wrong"),
    "inf": ("score = lambda q, d: float('inf')", "wrong"),
    "no_return": ("def score(query, document):\n    sum(query.values())", "wrong"),
    "text": ("score = lambda q, d: '3.0'", "wrong"),
    "object": ("score = object()", "error"),
    "raises": ("def score(query, document):\n    return 1 / 0", "error"),
    "endless_recursion": ("def score(query, document):\n    return score(query, document)", "error"),
    "no_python": ("def score(query", "error"),
    # of a notebook, not of Python alone
    "magic": (f"%matplotlib inline\n{RIGHT}", "right"),
    "modulo_in_brackets": (f"total = 5\nrest = (total + 1000\n % 1000)\n{RIGHT}\nassert rest == 5", "right"),
    "cell_magic": (f"%%time\n{RIGHT}", "right"),
    "another_language": (f"%%bash\n{RIGHT}", "error"),
    "shell": (f"files = !ls\n!pip install x\n{RIGHT}", "right"),
    "question": (f"{RIGHT}\nscore?", "right"),
    "display": (f"{RIGHT}\ndisplay(score)\nget_ipython().run_line_magic('time', '')", "right"),
    "await": (f"import asyncio\nasync def slow():\n    return 1\nawait slow()\n{RIGHT}", "right"),
    # endings
    "endless": ("while True: pass\nscore = 1", "time out"),
    "endless_call": ("def score(query, document):\n    while True: pass", "time out"),
    "exit": ("import sys\nscore = sys.exit(0)", "error"),
    "hard_exit": ("import os\nscore = os._exit(0)", "error"),
    "exit_in_the_call": ("import os\nscore = lambda q, d: os._exit(0)", "error"),
    "closes_everything": ("import os\nos.closerange(3, 300)\nscore = 1", "error"),
    "crash": (f"{THROUGH_C}score = c.strlen(1)", "error"),
    "raises_a_signal": ("import signal\nscore = signal.raise_signal(9)", "refused"),
    # memory and disk
    "memory": ("score = bytearray(2**40)", "error"),
    "memory_file": ("import os\nscore = os.memfd_create('x')", "refused"),
    "shared_memory": (f"{THROUGH_C}score = c.shmget(0, 2**31, 0o1600) + 0.5", "wrong"),
    "long_message": ("score = 'x' * 56_000_000", "error"),
    "deep_message": ("score = []\nfor _ in range(9000): score = [score]", "error"),
    "floods": (
        "data = bytes(2**24)\nfor n in range(400):\n    open(f'f{n}', 'wb').write(data)\nscore = 1", "refused"
    ),
    "many_files": ("for n in range(60_000): open(f'f{n}', 'w').close()\nscore = 1", "refused"),
    "large_file": ("open('f', 'wb').write(bytes(2**28))\nscore = 1", "error"),
    "deep_folders": (f"import os\nfor _ in range(1500):\n    os.mkdir('d'); os.chdir('d')\n{RIGHT}", "right"),
    "long_paths": (f"import os\nfor _ in range(60):\n    os.mkdir('d' * 250); os.chdir('d' * 250)\n{RIGHT}", "right"),
    "threads": (
        "import threading as t, time\nfor _ in range(5000): t.Thread(target=time.sleep, args=(99,)).start()\nscore = 1",
        "error",
    ),
    # other files
    "writes": (f"score = open({OUTSIDE!r} + '/a', 'w')", "refused"),
    "writes_quietly": (f"{RIGHT}\ntry: open({OUTSIDE!r} + '/b', 'w')\nexcept Exception: pass", "refused"),
    "writes_through_c": (f"{THROUGH_C}c.creat(({OUTSIDE!r} + '/c').encode(), 0o600)\nscore = 5", "wrong"),
    "writes_through_a_link": (f"import os\nos.symlink({OUTSIDE!r}, 'l')\nscore = open('l/d', 'w')", "refused"),
    "removes": (f"import os\nscore = os.remove({OUTSIDE!r} + '/kept')", "refused"),
    "removes_unhooked": (f"{NO_HOOK}import os\nscore = os.remove({OUTSIDE!r} + '/kept')", "refused"),
    "modes": (f"{NO_HOOK}import os\nscore = os.chmod({OUTSIDE!r} + '/kept', 0o777)", "refused"),
    "modes_through_c": (f"{THROUGH_C}c.chmod(({OUTSIDE!r} + '/kept').encode(), 0o777)\nscore = 5", "wrong"),
    "times": (f"{NO_HOOK}import os\nscore = os.utime({OUTSIDE!r} + '/kept', (1, 1))", "refused"),
    "reads": (f"raise ValueError(open({OUTSIDE!r} + '/kept').read())\nscore = 1", "refused"),
    "lists": (f"import os\nraise ValueError(os.listdir({OUTSIDE!r}))\nscore = 1", "refused"),
    "reads_the_parent": (
        "import os\nraise ValueError(open(f'/proc/{os.getppid()}/environ').read())\nscore = 1", "refused"
    ),
    "environment": ("import os\nraise ValueError(sorted(os.environ.items()))\nscore = 1", "error"),
    "first_environment": ("raise ValueError(open('/proc/self/environ').read()[-190:])\nscore = 1", "error"),
    "scratch": (f"open('mine', 'w').write('x')\n{RIGHT}", "right"),
    # processes
    "forks": ("import os\nscore = [os.fork() for _ in range(99)]", "refused"),
    "forks_unhooked": (f"{NO_HOOK}import os\nscore = [os.fork() for _ in range(99)]", "refused"),
    "forks_through_c": (
        f"{THROUGH_C}import time\nif c.fork() == 0:\n    c.setsid(); time.sleep(321)\nscore = 5", "wrong"
    ),
    "starts": ("import subprocess\nscore = subprocess.run(['sleep', '99'])", "refused"),
    "starts_unhooked": (f"{NO_HOOK}import subprocess\nscore = subprocess.run(['sleep', '99'])", "refused"),
    "spawns": (
        f"{NO_HOOK}from multiprocessing import util\nscore = util.spawnv_passfds(b'/bin/true', [b'true'], [])",
        "refused",
    ),
    "limits_of_the_parent": (
        "import os, resource\nscore = resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))", "refused"
    ),
    "own_limits": ("import resource\nscore = resource.setrlimit(resource.RLIMIT_AS, (2**50, 2**50))", "error"),
    "kills": ("import os\nscore = os.kill(os.getppid(), 9)", "refused"),
    "kills_unhooked": (f"{NO_HOOK}import os\nscore = os.kill(os.getppid(), 9)", "refused"),
    "kills_by_handle": (
        "import os, signal\nscore = signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)", "refused"
    ),
    "signal_about_a_file": (
        "import fcntl, os\nr, w = os.pipe()\nscore = fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())", "refused"
    ),
    "traces": (f"{THROUGH_C}import os\nscore = c.ptrace(16, os.getppid(), 0, 0) + 0.5", "wrong"),
    "namespaces": (f"{THROUGH_C}score = c.unshare(0x10000000) + 0.5", "wrong"),
    "asks_for_cores": (
        f"import joblib\njoblib.cpu_count(only_physical_cores=True)\n{RIGHT}",  # as k-means of scikit-learn does
        "right",
    ),
    # sockets
    "connects": ("import socket\nscore = socket.create_connection(('127.0.0.1', 9))", "refused"),
    "datagrams": (f"{NO_HOOK}import socket\nscore = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "refused"),
    "local_socket": (f"{NO_HOOK}import socket\nscore = socket.socket(socket.AF_UNIX)", "refused"),
    # verdicts
    "prints": ("print('04.q2 right')\nprint('\\n04.q2    right\\n', flush=True)\nscore = 5", "wrong"),
    "patches": (
        "import tokalign_helpers.exercises.ex04 as m, tokalign_helpers.exercises as e\n"
        "m._judge_score = lambda answer: None\ne.Question.check = lambda *a: print('right')\n"
        "object.__setattr__(m.q2, 'judge', lambda answer: None)\nscore = lambda q, d: 7.0",
        "wrong",
    ),
    "forges": (
        "import os\nfor n in range(3, 200):\n    try: os.write(n, b'[\"right\", \"\"]')\n"
        "    except OSError: pass\nscore = 5",
        "error",
    ),
    "formula": ("class E(Exception): pass\nE.__name__ = '=HYPERLINK(\"http://x\")'\nraise E\nscore = 1", "error"),
    "escapes": ("raise ValueError('\\x1b[31mred\\x07\\u202e')\nscore = 1", "error"),
}  # fmt: skip
# The cells of a notebook whose second question is checked in another way, and the row it must get.
CELLS = {
    "in_an_if": ([f"{RIGHT}\nif True:\n    {CHECK}"], "right"),
    "with_a_keyword": ([f"{RIGHT}\nex.q2.check(answer=score)"], "right"),
    "assigned": ([f"{RIGHT}\n_ = {CHECK}"], "right"),
    "in_a_function": ([f"{RIGHT}\ndef check():\n    {CHECK}\ncheck()", "score = 1"], "right"),
    "never_reached": ([f"{RIGHT}\nif False:\n    {CHECK}"], "empty"),
    "side_effect": (["n = 5\ndef zero():\n    global n\n    n = 0", "zero()",
                     f"{RIGHT.replace('sum(', 'n + sum(')}\n{CHECK}"], "right"),
    "side_effect_on_an_argument": (["n = [5]\ndef zero(of):\n    of[0] = 0", "zero(n)",
                                    f"{RIGHT.replace('sum(', 'n[0] + sum(')}\n{CHECK}"], "right"),
    "many_branches": (["if 0: pass\n" + "elif 1: pass\n" * 1200 + f"{RIGHT}\n{CHECK}"], "error"),
    "many_brackets": ([f"x = {'(' * 325}1{')' * 325}\n{RIGHT}\n{CHECK}"], "error"),
    "long_sum": ([f"x = {'+'.join(['1'] * 20_000)}\n{RIGHT}\n{CHECK}"], "error"),
    "checked_twice": ([f"score = 1\n{CHECK}", f"{RIGHT}\n{CHECK}"], "right"),
    "not_checked": ([RIGHT], "empty"),
}  # fmt: skip
# Files that are no notebook to grade, and what the message of their one row says.
NO_NOTEBOOKS = {
    "pipe.ipynb": "not an ordinary file",
    "zeros.ipynb": "not an ordinary file",
    "folder.ipynb": "not an ordinary file",
    "missing.ipynb": "No such file",
    "nothing.ipynb": "is not a notebook",
    "large.ipynb": "are the most; clear its outputs",
    "null.ipynb": "is not a notebook",
    "list.ipynb": "is not a notebook",
    "deep.ipynb": "is not a notebook",
    "latin.ipynb": "is not a notebook",
    "another.ipynb": "is it a notebook of this course?",
    "ex99.ipynb": "which the course does not have",
    "long.ipynb": "it is not graded",
}


def submission(path, cells):
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), path)


def no_notebooks(folder):
    """Make the files that nobody can grade."""
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "zeros.ipynb").symlink_to("/dev/zero")
    (folder / "folder.ipynb").mkdir()
    (folder / "nothing.ipynb").write_text("")
    with (folder / "large.ipynb").open("wb") as file:
        file.truncate(LARGEST + 1)
    cell = {"cell_type": "code", "source": None, "metadata": {}, "outputs": [], "execution_count": None, "id": "a"}
    null = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    (folder / "null.ipynb").write_text(json.dumps(null))
    (folder / "list.ipynb").write_text("[]")
    (folder / "deep.ipynb").write_text("[" * 200_000)
    (folder / "latin.ipynb").write_bytes(b'{"a": "\xe9"}')
    submission(folder / "another.ipynb", ["x = 1"])
    submission(folder / "ex99.ipynb", [IMPORT.replace("04", "99")])
    submission(folder / "long.ipynb", [IMPORT + "\nx = 1" * 20_000])


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Grade all of them in one run, as an instructor does: its imports are the slow part."""
    if not kernel.is_confining():
        pytest.skip("this kernel has no Landlock or no seccomp; the grader does not start on it")
    folder, outside = tmp_path_factory.mktemp("submitted"), tmp_path_factory.mktemp("outside")
    (outside / "kept").write_text(TOKEN)
    scratch = tmp_path_factory.mktemp("scratch")
    no_notebooks(folder)
    made = []
    for name, (answer, _) in ANSWERS.items():
        second = f"{answer.replace(OUTSIDE, str(outside))}\n{CHECK}"
        cells = [IMPORT, "x = 1", second, "answer_4 = 'd'\nex.q4.check(answer_4)"]
        made.append((folder / f"{name}.ipynb", cells))
    for name, (cells, _) in CELLS.items():
        made.append((folder / f"{name}.ipynb", [IMPORT, *cells, "answer_4 = 'd'\nex.q4.check(answer_4)"]))
    for path, cells in made:
        submission(path, cells)
    odd = os.fsencode(folder) + b"/=caf\xe9\x1b[31m.ipynb"
    with open(odd, "w") as file:
        file.write((folder / "right.ipynb").read_text())
    (folder / "torch.py").write_text(f"open({str(outside / 'imported')!r}, 'w')")
    (folder / "numpy.py").write_text(f"open({str(outside / 'imported')!r}, 'w')")
    home = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-m", "tokalign_helpers.exercises", "grade", "--csv", "--seconds", "12"]
    names = [
        *sorted(os.fsencode(path) for path, _ in made),
        *(os.fsencode(folder / name) for name in NO_NOTEBOOKS),
        odd,
    ]
    done = subprocess.run(
        [*command, *names],
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "SECRET": TOKEN, "TMPDIR": str(scratch), "PYTHONPATH": home},
        cwd=folder,
        timeout=550,
    )
    said = done.stdout.decode("utf-8")  # a name that is no UTF-8 is written so that it is
    rows = list(csv.DictReader(said.splitlines()))
    by_name = {}
    for row in rows:
        by_name.setdefault(Path(row["notebook"]).name.removesuffix(".ipynb"), []).append(row)
    return {
        "rows": by_name,
        "outside": outside,
        "scratch": scratch,
        "done": done,
        "said": said,
        "notebooks": len(names),
    }


@pytest.mark.parametrize("name", ANSWERS | CELLS)
def test_each_submission_gets_its_row(graded, name):
    first, second, third, last = rows = graded["rows"][name]
    assert [row["question"] for row in rows] == ["04.q1", "04.q2", "04.q3", "04.q4"]
    assert second["verdict"] == (ANSWERS | CELLS)[name][1], second["message"]
    assert [row["verdict"] for row in (first, third, last)] == ["empty", "empty", "right"]


@pytest.mark.parametrize("name", NO_NOTEBOOKS)
def test_what_cannot_be_graded_gets_one_row_and_the_others_are_graded(graded, name):
    (row,) = graded["rows"][name.removesuffix(".ipynb")]
    assert (row["verdict"], row["question"]) == (NOT_JUDGED, "all")
    assert NO_NOTEBOOKS[name] in row["message"]


def test_there_is_one_header_and_a_last_line_that_counts(graded):
    assert graded["said"].splitlines()[0] == ",".join(COLUMNS)
    assert graded["said"].count("notebook,question") == 1
    rows = sum(map(len, graded["rows"].values()))
    tail = f"{graded['notebooks']} notebooks, {rows} rows: "
    (line,) = [line for line in graded["done"].stderr.decode().splitlines() if line.startswith(tail)]
    assert line.endswith(f"; {len(NO_NOTEBOOKS)} could not be judged")
    assert graded["done"].returncode == 3
    assert len(ANSWERS | CELLS | NO_NOTEBOOKS) >= 60


def test_the_message_says_what_went_wrong(graded):
    said = {name: rows[1]["message"] for name, rows in graded["rows"].items() if len(rows) > 1}
    assert "case 'two shared tokens': expected 3.0000, got 1.0000" in said["wrong"]
    assert "is its `return` missing?" in said["no_return"]
    assert "ZeroDivisionError" in said["raises"]
    assert "os.fork" in said["forks"]
    assert "it wrote more than" in said["floods"]
    assert "a cell of %%bash" in said["another_language"]


def test_nothing_of_the_teachers_is_told(graded):
    assert TOKEN not in graded["said"]


def test_no_formula_and_no_escape_reaches_the_table(graded):
    assert all(c.isprintable() or c == "\n" for c in graded["said"])
    fields = [value for rows in graded["rows"].values() for row in rows for value in row.values()]
    assert not [value for value in fields if value[:1] in "=+-@" and value]
    assert any("HYPERLINK" in value for value in fields)
    assert any("caf" in value and value.startswith("/") for value in fields)


def test_nothing_was_written_changed_or_removed_outside(graded):
    assert {path.name for path in graded["outside"].iterdir()} == {"kept"}
    about = (graded["outside"] / "kept").stat()
    assert about.st_mode & 0o777 != 0o777
    assert about.st_mtime > 1


def test_no_process_and_no_folder_is_left(graded):
    assert list(graded["scratch"].glob(".tokalign*")) == list(graded["scratch"].glob("answer*")) == []
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert [c for c in commands if b"exercises.grader.worker" in c and str(os.getpid()).encode() not in c] == []


def test_where_the_kernel_cannot_confine_the_grader_does_not_start(monkeypatch, tmp_path, capsys):
    from tokalign_helpers.exercises.__main__ import CANNOT_CONFINE, main

    monkeypatch.setattr(kernel, "is_confining", lambda: False)
    assert main(["grade", str(tmp_path / "a.ipynb")]) == CANNOT_CONFINE
    assert re.fullmatch(r"error: this system cannot confine [^\n]*--unsafe[^\n]*\n", capsys.readouterr().err)


@pytest.mark.skipif(not kernel.is_confining(), reason="this kernel cannot confine an answer")
def test_a_worker_that_dies_ends_neither_the_run_nor_the_other_notebooks(tmp_path, capsys):
    submission(tmp_path / "a.ipynb", [IMPORT])
    worker = Worker(seconds=20, gigabytes=8)
    process = worker._started().process
    process.kill()
    process.wait()
    assert grade_all([tmp_path / "a.ipynb", tmp_path / "a.ipynb"], worker, as_csv=True) == 3
    worker.close()
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["verdict"] for row in rows] == [NOT_JUDGED, *["empty"] * 4]


@pytest.mark.parametrize(
    ("text", "made"), [("a\x1b[31m\nb", "a [31m b"), ("caf\udce9", "caf\\udce9"), ("x" * 9, "xxxx")]
)
def test_text_of_others_is_made_plain(text, made):
    assert printable(text, 10 if len(made) > 4 else 4) == made


def test_where_there_is_no_landlock_its_version_is_0(monkeypatch):
    monkeypatch.setattr(kernel.platform, "machine", lambda: "abacus")
    assert landlock_version() == 0


def test_an_answer_comes_with_what_it_draws_on_and_no_more():
    cells = [
        "import torch, os\nslow()",
        "n = 2\nrows = []\nrows.append(n)",
        "other = n",
        "a = rows + [n]\nex.q1.check(a)",
    ]
    source = find_answers(cells)[1].source
    given = []
    exec(source.replace("import torch, os", ""), {KEEP: given.append})
    assert given == [[2, 2]]
    assert "slow" not in source and "other" not in source


@pytest.mark.parametrize(
    "cells",
    [
        ["n = slow()", "def a(n):\n    k = n\n    return [row for row in k]\nex.q1.check(a)"],
        ["row = slow()\nfor row in [1]: pass", "a = [row for row in [2]]\nex.q1.check(a)"],
        ["h = slow()\nprint(h)", "h = 1\nex.q1.check(h)"],
        ["def f():\n    h = slow()", "h = 1", "ex.q1.check(h + 1)"],
    ],
)
def test_a_name_that_is_local_or_bound_anew_draws_on_nothing(cells):
    assert "slow" not in find_answers(cells)[1].source


@pytest.mark.parametrize(
    ("cells", "answer"),
    [
        (["n = 2\ndef f():\n    return n", "n = 3", "ex.q1.check(f())"], 3),
        (["n = 2\nf = lambda: n", "n = 3", "ex.q1.check(f())"], 3),
        (["rows = []\nfor n in (1, 2):\n    rows.append(n)", "ex.q1.check(rows)"], [1, 2]),
        (["n = 1", "n += 1", "ex.q1.check(n)"], 2),
        (["n = 1\nif n:\n    n = 2", "ex.q1.check(n)"], 2),
        (["from math import *", "ex.q1.check(floor(2.5))"], 2),
        (["d = {1: 2, 3: 4}\ndel d[1]", "ex.q1.check(d)"], {3: 4}),
        (["n = 1", "[n := k for k in (4, 5)]", "ex.q1.check(n)"], 5),
        (["ex.q1.check(1)", "ex.q1.check(2)"], 2),
        (["a = 1\nex.q1.check(a)", "a = 2"], 1),
        (["nonlocal x", "ex.q1.check(1)"], 1),
    ],
)
def test_an_answer_comes_with_all_that_it_draws_on(cells, answer):
    given = []
    exec(find_answers(cells)[1].source, {KEEP: given.append})
    assert given == [answer]


@pytest.mark.parametrize("cell", ["nonlocal x", "x = " + "(" * 500 + ")" * 500, "x = " + "-" * 5000 + "1", "x = '\0'"])
def test_a_cell_that_python_cannot_take_is_told(cell):
    assert "the cell is no Python" in find_answers(["ex.q1.check(1)", f"{cell}\nex.q1.check(2)"])[1].problem


@pytest.mark.parametrize(
    "value",
    [None, 3, -0.5, "▁a", [1, (2, {3})], {"a": [1.5]}, {(1, 2): "x"}, np.eye(2), np.arange(3), torch.ones(2, 3)],
)
def test_what_crosses_comes_back_the_same(value):
    back = decode(encode(value, []), lambda n: n)
    assert type(back) is type(value)
    assert torch.equal(torch.as_tensor(back), torch.as_tensor(value)) if hasattr(value, "shape") else back == value


def test_a_table_and_a_function_cross():
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[5, 6])
    pd.testing.assert_frame_equal(decode(encode(table, []), None), table)
    functions = []
    assert decode(encode([len, max], functions), functions.__getitem__) == [len, max]


@pytest.mark.parametrize("message", [[1], {"is": "code"}, {"is": "array", "dtype": "O", "shape": [1], "data": ""}])
def test_other_messages_are_refused(message):
    with pytest.raises(ValueError, match="not a message|an array of"):
        decode(message, None)


def test_an_object_cannot_cross():
    with pytest.raises(TypeError, match="cannot hold a"):
        encode(Path(), [])


def test_messages_cross_whole_and_in_order():
    near, far = (Channel(end) for end in socket.socketpair())
    far.end.settimeout(20)  # a message that never comes is a failure, not a wait
    sent = [{"do": "call", "with": ["▁a"] * 3}, {}]
    for message in sent:
        near.send(message)
    assert [far.receive() for _ in sent] == sent
    near.end.sendall((2).to_bytes(8, "big") + b"[]")
    with pytest.raises(ValueError, match="not a message"):
        far.receive()
    near.end.sendall((LONGEST + 1).to_bytes(8, "big"))
    with pytest.raises(ValueError, match="is the most"):
        far.receive()
    near.end.close()
    with pytest.raises(EOFError):
        far.receive()


def test_a_letter_is_judged_and_a_wrong_one_explained():
    judge = choice("b", {"a": "too early", "c": "too late"})
    assert judge(" B ") is None
    assert judge("a") == "too early"
    assert judge("z") == "'z' is none of the letters a, b, c"
    assert "in quotation marks" in judge(3)


def in_a_fork(work):
    """What a process that may confine itself has to say."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(work()).encode())
        except BaseException as error:
            os.write(write, type(error).__name__.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        answer = said.read()
    os.waitpid(child, 0)
    return answer


def tried(action):
    try:
        action()
    except OSError:
        return "refused"
    return "done"


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and these limits are Linux's")
def test_a_confined_process_writes_to_its_folder_alone(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir(), outside.mkdir()

    def by_the_kernel():
        held = kernel.restrict_files(inside)
        return held, tried((outside / "a").touch), tried((inside / "a").touch)

    refused = "refused" if landlock_version() else "done"
    assert in_a_fork(by_the_kernel) == str((bool(landlock_version()), refused, "done"))

    def confined():
        kernel.confine(inside, seconds=60, gigabytes=64)
        made = tried((outside / "b").touch), tried((inside / "b").touch), tried(lambda: os.kill(os.getppid(), 0))
        return *made, "os.kill" in kernel.REFUSED, kernel.resource.getrlimit(kernel.resource.RLIMIT_CPU)[0] <= 60

    assert in_a_fork(confined) == str(("refused", "done", "refused", True, True))
    assert in_a_fork(lambda: landlock_version()) == str(landlock_version())


def test_the_numbers_of_the_system_calls_are_the_kernels():
    """Where the kernel's headers lie, hold the table to them."""
    tables = {0: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), 1: Path("/usr/include/asm-generic/unistd.h")}
    if not all(path.is_file() for path in tables.values()):
        pytest.skip("the kernel's headers are not installed")
    named = kernel._DENIED | {name: numbers for name, (numbers, *_) in kernel._BY_ARGUMENT.items()}
    named |= {"clone": kernel._CLONE, "clone3": kernel._CLONE3}
    for column, path in tables.items():
        defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text())
        known = {name: int(number) for name, number in defined}
        assert len(known) > 200
        for name, numbers in named.items():
            if name in known:
                assert numbers[column] == known[name], name


@pytest.mark.parametrize(("answer", "verdict"), [("'d'", "right"), ("'a'", "wrong")])
def test_one_answer(answer, verdict):
    from tokalign_helpers.exercises.ex04 import q4
    from tokalign_helpers.exercises.grader.answering import Limits, grade_answer
    from tokalign_helpers.exercises.grader.submission import Answer

    given = Answer(source=f"{KEEP}({answer})")
    assert grade_answer(q4, given, Limits(seconds=60))[0] == verdict
    assert grade_answer(q4, Answer(), Limits()) == ("empty", "not answered")
    assert grade_answer(q4, Answer(problem="no Python"), Limits()) == ("error", "no Python")


def test_what_several_answers_draw_on_is_embedded_before_their_time_runs():
    from tokalign_helpers.datasets.wikipedia import load_sentences
    from tokalign_helpers.exercises.grader.worker import embed_shared
    from tokalign_helpers.models.cache import EmbeddingCache
    from tokalign_helpers.models.loading import load_embedders

    embed_shared(names := ["smol-eol", "smol-wmean"])
    texts = load_sentences(1000, seed=0)
    for embedder in load_embedders(names).values():
        cache = EmbeddingCache(embedder.fingerprint, embedder.dimension)
        assert cache.load(texts, torch.empty(len(texts), embedder.dimension)) == []
