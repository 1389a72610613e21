"""Each kind of submission gets its row, and none gets out."""

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

from tokalign_helpers.exercises import choice, sandbox
from tokalign_helpers.exercises.sandbox import landlock_version
from tokalign_helpers.exercises.submission import ANSWER, find_answers
from tokalign_helpers.exercises.wire import LONGEST, Channel, decode, encode

IMPORT = "from tokalign_helpers.exercises import ex04 as ex"
RIGHT = "def score(query, document):\n    return sum(w * document.get(t, 0.0) for t, w in query.items())"
OUTSIDE = "{outside}"
# what the second answer does: the row it must get
ANSWERS = {
    "right": (RIGHT, "right"),
    "wrong": ("def score(query, document):\n    return 1.0", "wrong"),
    "empty": ("score = ...", "empty"),
    "no_function": ("score = None", "wrong"),
    "raises": ("def score(query, document):\n    return 1 / 0", "error"),
    "no_python": ("def score(query", "error"),
    "endless": ("while True: pass\nscore = 1", "time out"),
    "endless_call": ("def score(query, document):\n    while True: pass", "time out"),
    "exit": ("import sys\nscore = sys.exit(0)", "error"),
    "hard_exit": ("import os\nscore = os._exit(0)", "error"),
    "memory": ("score = bytearray(2**40)", "error"),
    "writes": (f"score = open({OUTSIDE!r} + '/a', 'w')", "refused"),
    "writes_quietly": (f"{RIGHT}\ntry: open({OUTSIDE!r} + '/b', 'w')\nexcept Exception: pass", "refused"),
    "removes": (f"import os\nscore = os.remove({OUTSIDE!r} + '/kept')", "refused"),
    "forks": ("import os\nscore = [os.fork() for _ in range(99)]", "refused"),
    "starts": ("import subprocess\nscore = subprocess.run(['sleep', '99'])", "refused"),
    "connects": ("import socket\nscore = socket.create_connection(('127.0.0.1', 9))", "refused"),
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
    "writes_through_c": (
        f"import ctypes\nctypes.CDLL(None).creat(({OUTSIDE!r} + '/c').encode(), 0o600)\nscore = 5",
        "wrong",
    ),
    "forks_through_c": (
        "import ctypes, time\nif ctypes.CDLL(None).fork() == 0:\n"
        "    ctypes.CDLL(None).setsid(); time.sleep(321)\nscore = 5",
        "wrong",
    ),
    "asks_for_cores": (
        f"import joblib\njoblib.cpu_count(only_physical_cores=True)\n{RIGHT}",  # as k-means of scikit-learn does
        "right",
    ),
    "scratch": (f"open('mine', 'w').write('x')\n{RIGHT}", "right"),
}  # fmt: skip


def submission(path, first, second, third):
    cells = [IMPORT, first, f"{second}\nex.q2.check(score)", f"answer = {third}\nex.q3.check(answer)"]
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), path)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Grade all of them in one process, as an instructor does: its imports are the slow part."""
    folder, outside = tmp_path_factory.mktemp("submitted"), tmp_path_factory.mktemp("outside")
    (outside / "kept").write_text("")
    for name, (answer, _) in ANSWERS.items():
        submission(folder / f"{name}.ipynb", "x = 1", answer.replace(OUTSIDE, str(outside)), "'b'")
    command = [sys.executable, "-m", "tokalign_helpers.exercises", "grade", "--csv", "--seconds", "8"]
    done = subprocess.run(
        [*command, *sorted(map(str, folder.glob("*.ipynb")))],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=400,
    )
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("notebook,")]
    rows = pd.read_csv(pd.io.common.StringIO("\n".join(["notebook,question,verdict,message", *lines])))
    return rows.set_index(["notebook", "question"]), outside


@pytest.mark.parametrize("name", ANSWERS)
def test_each_submission_gets_its_row(graded, name):
    rows, _ = graded
    row = rows.loc[(f"{name}.ipynb", "04.q2")]
    assert row["verdict"] == ANSWERS[name][1], row["message"]
    assert (rows.loc[(f"{name}.ipynb", "04.q1"), "verdict"], len(rows.loc[f"{name}.ipynb"])) == ("empty", 3)
    assert rows.loc[(f"{name}.ipynb", "04.q3"), "verdict"] == "right"


def test_the_message_says_what_went_wrong(graded):
    rows = graded[0]["message"]
    assert "case 'two shared tokens': expected 3.0, got 1.0" in rows[("wrong.ipynb", "04.q2")]
    assert "ZeroDivisionError" in rows[("raises.ipynb", "04.q2")]
    assert "os.fork" in rows[("forks.ipynb", "04.q2")]


def test_nothing_was_written_or_removed_outside(graded):
    names = {path.name for path in graded[1].iterdir()}
    assert names - {"c"} == {"kept"}
    assert "c" not in names or not landlock_version()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_no_process_is_left(graded):
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert [c for c in commands if b"tokalign_helpers.exercises\0grade\0--csv\0--seconds\x008" in c] == []


def test_a_file_that_is_no_notebook_is_told(tmp_path):
    from tokalign_helpers.exercises.grading import grade

    (tmp_path / "a.ipynb").write_text("{")
    with pytest.raises(ValueError, match="is no notebook"):
        grade(tmp_path / "a.ipynb")
    nbformat.write(new_notebook(), tmp_path / "b.ipynb")
    with pytest.raises(ValueError, match="is it of this course"):
        grade(tmp_path / "b.ipynb")
    nbformat.write(new_notebook(cells=[new_code_cell(IMPORT + "\nx = 1" * 20_000)]), tmp_path / "c.ipynb")
    with pytest.raises(ValueError, match="it is not graded"):
        grade(tmp_path / "c.ipynb")


def test_the_command_line_tells_what_cannot_be_graded(tmp_path, capsys):
    from tokalign_helpers.exercises.__main__ import main

    (tmp_path / "a.ipynb").write_text("{")
    assert main(["grade", str(tmp_path / "a.ipynb")]) == 2
    assert re.fullmatch(r"error: [^\n]*a\.ipynb is no notebook[^\n]*\n", capsys.readouterr().err)


def test_where_there_is_no_landlock_its_version_is_0(monkeypatch):
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "abacus")
    assert landlock_version() == 0


def test_an_answer_comes_with_what_it_draws_on_and_no_more():
    cells = [
        "import torch, os\nslow()",
        "n = 2\nrows = []\nrows.append(n)",
        "other = n",
        "a = rows + [n]\nex.q1.check(a)",
    ]
    source = find_answers(cells)[1].source
    scope = {}
    exec(source.replace("import torch, os", ""), scope)
    assert scope[ANSWER] == [2, 2]
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
    scope = {}
    exec(find_answers(cells)[1].source, scope)
    assert scope[ANSWER] == answer


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
    assert judge(3) == "3 is none of the letters a, b, c"


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
        held = sandbox.restrict_writes(inside)
        return held, tried((outside / "a").touch), tried((inside / "a").touch)

    refused = "refused" if landlock_version() else "done"
    assert in_a_fork(by_the_kernel) == str((bool(landlock_version()), refused, "done"))

    def confined():
        sandbox.confine(inside, seconds=60, gigabytes=64)
        made = tried((outside / "b").touch), tried((inside / "b").touch), tried(lambda: os.kill(os.getppid(), 0))
        return *made, "os.kill" in sandbox.REFUSED, sandbox.resource.getrlimit(sandbox.resource.RLIMIT_CPU)[0] <= 60

    assert in_a_fork(confined) == str(("refused", "done", "refused", True, True))
    assert in_a_fork(lambda: landlock_version()) == str(landlock_version())


@pytest.mark.parametrize(("answer", "verdict"), [("'b'", "right"), ("'a'", "wrong")])
def test_one_answer(answer, verdict):
    from tokalign_helpers.exercises.ex04 import q3
    from tokalign_helpers.exercises.grading import Limits, grade_answer
    from tokalign_helpers.exercises.submission import Answer

    given = Answer(source=f"{ANSWER} = {answer}")
    assert grade_answer(q3, given, Limits(seconds=60))[0] == verdict
    assert grade_answer(q3, Answer(), Limits()) == ("empty", "not answered")
    assert grade_answer(q3, Answer(problem="no Python"), Limits()) == ("error", "no Python")


def test_what_several_answers_draw_on_is_embedded_before_their_time_runs():
    from tokalign_helpers.cache import EmbeddingCache
    from tokalign_helpers.datasets import sentences
    from tokalign_helpers.embedders import load_embedders
    from tokalign_helpers.exercises.grading import embed_shared

    embed_shared(names := ["smol-eol", "smol-wmean"])
    texts = sentences(1000, seed=0)
    for embedder in load_embedders(names).values():
        cache = EmbeddingCache(embedder.fingerprint, embedder.dimension)
        assert cache.load(texts, torch.empty(len(texts), embedder.dimension)) == []
