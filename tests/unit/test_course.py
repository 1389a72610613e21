"""Exercises, command line, packaging: what readers touch beside the notebooks."""

import importlib
import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file

import tokalign_helpers as ta
from tokalign_helpers.__main__ import main
from tokalign_helpers.exercises import LEVELS, Question

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {
    path.stem: importlib.import_module(f"tokalign_helpers.exercises.ex{path.name[:2]}")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
}
QUESTIONS = [
    pytest.param(question, id=f"{name[:2]}-q{number}")
    for name, module in MODULES.items()
    for number, question in enumerate(module.QUESTIONS, start=1)
]
CONDA_NAMES = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base"}


@pytest.fixture(autouse=True)
def embedding_cache():
    """Leave the user's cache in place: exercises ask about the sentences of the notebooks, which take minutes."""


def value(source, name):
    scope = {}
    exec(source, scope)
    return scope[name]


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_solution_is_right_and_typical_mistakes_are_not(question, capsys):
    question.check(value(question.answer, question.name))
    assert capsys.readouterr().out.startswith("✓ Right.")
    assert len(question.wrong) >= 2
    for source in question.wrong:
        question.check(value(source, question.name))
        assert capsys.readouterr().out.startswith("✗ Not yet: ")


BUILT = {  # in each notebook, what the learner builds before the library's own is used
    "ex00.q1": "models.decoding.TokenDecoder.top_tokens",
    "ex01.q1": "reading.alignment.Alignment.gar",
    "ex02.q1": "reading.spectrum.PrincipalComponents.fit",
    "ex03.q1": "reading.spectrum.PrincipalComponents.adjust",
    "ex04.q3": "retrieval.index.SparseIndex.search",
    "ex05.q2": "exercises.ex05.neighbour_agreement",
    "ex06.q2": "exercises.ex06.token_contributions",
    "ex07.q2": "exercises.ex07.rank_correlation",
    "ex08.q1": "exercises.ex08.remove_top",
}


@pytest.mark.parametrize("name", BUILT)
def test_what_is_built_is_compared_with_what_the_library_does(name, capsys, monkeypatch):
    module, _, number = name.partition(".")
    question = getattr(importlib.import_module(f"tokalign_helpers.exercises.{module}"), number)
    right = value(question.answer, question.name)
    question.check(right)
    assert "library's" in capsys.readouterr().out
    called = []
    monkeypatch.setattr(f"tokalign_helpers.{BUILT[name]}", lambda *given, **named: called.append(1))
    question.check(right)
    assert called or BUILT[name].endswith(".gar")  # a property, which is replaced by something that is no number
    assert capsys.readouterr().out.startswith("✗ Not yet: ")


def test_every_notebook_has_something_to_build():
    assert [name[:4] for name in BUILT] == [f"ex{name[:2]}" for name in MODULES]


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_unanswered_question_is_no_failure(question, capsys):
    question.check(...)
    assert f"Not answered yet ({question.level})." in capsys.readouterr().out
    question.hint()
    assert capsys.readouterr().out == question.clue + "\n"
    question.solution()
    assert capsys.readouterr().out == question.answer + "\n"


def test_the_readme_lists_every_notebook_with_its_measured_times():
    from tools.notebooks import choose, read
    from tools.run import TABLE, table_of_contents

    rows = table_of_contents({path.name: read(path) for path in choose(ROOT / "notebooks", [])})
    written = TABLE.search((ROOT / "README.md").read_text(encoding="utf-8"))[0].splitlines()[1:-1]
    assert written == rows
    assert len(rows) >= 2


@pytest.mark.parametrize("name", MODULES)
def test_the_notebook_asks_what_the_module_checks(name):
    nbformat = pytest.importorskip("nbformat")
    prose = "\n".join(c.source for c in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells)
    assert [q.task for q in MODULES[name].QUESTIONS if q.task not in prose] == []


@pytest.mark.parametrize("name", MODULES)
def test_the_heading_of_an_exercise_says_how_difficult_it_is(name):
    nbformat = pytest.importorskip("nbformat")
    prose = "\n".join(c.source for c in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells)
    told = re.findall(r"^### Exercise (\d) · ([a-z ]+) \(\d+ minutes, (\w+)\)$", prose, re.MULTILINE)
    assert [(int(number), level) for number, _, level in told] == [
        (number, question.level) for number, question in enumerate(MODULES[name].QUESTIONS, start=1)
    ]
    assert {kind for _, kind, _ in told} >= {"build", "run and vary", "explain"}


@pytest.mark.parametrize("name", MODULES)
def test_the_notebook_checks_the_name_that_the_solution_defines(name):
    """So that a solution, pasted over the stub, is right and does not read "Not answered yet"."""
    nbformat = pytest.importorskip("nbformat")
    code = "\n".join(c.source for c in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells)
    checked = dict(re.findall(r"ex\.q(\d)\.check\((\w+)\)", code))
    questions = enumerate(MODULES[name].QUESTIONS, start=1)
    assert {str(number): question.name for number, question in questions} == checked


def lettered():
    """The right letter and the options of every question with letters, of the exercises and of the quizzes."""
    for name, module in MODULES.items():
        for question in module.QUESTIONS:
            if re.fullmatch(r"\w+ = \"[a-d]\"", question.answer):
                options = dict(re.findall(r"\(([a-d])\) (.*?)(?=, \([a-d]\)|\.?$)", question.task))
                yield name, value(question.answer, question.name), options
        for _, right, options in module.quiz.items:
            yield name, right, {letter: text for letter, (text, _) in options.items()}


def test_the_right_letters_are_spread():
    letters = Counter(right for _, right, _ in lettered())
    assert set(letters) == set("abcd")
    assert max(letters.values()) - min(letters.values()) <= 2


def test_the_right_answer_is_not_given_away_by_its_length():
    for name, right, options in lettered():
        assert list(options) == list("abcd"), name
        assert len(options[right]) < max(map(len, options.values())), (name, options)


def test_every_option_of_an_exercise_is_explained():
    for module in MODULES.values():
        for question in module.QUESTIONS:
            if re.fullmatch(r"\w+ = \"[a-d]\"", question.answer):
                said = {question.judge(letter) or question.why for letter in "abcd"}
                assert len(said) == 4 and not any("none of the letters" in text for text in said)


@pytest.mark.parametrize("name", MODULES)
def test_a_quiz_is_asked_word_for_word_and_explains_each_answer(name, capsys):
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
    quiz = MODULES[name].quiz
    (place,) = (i for i, cell in enumerate(cells) if "## A short quiz" in cell.source)
    assert cells[place].source.endswith(quiz.task)
    assert cells[place + 1].source.endswith("ex.quiz.check(quiz)")
    right = value(quiz.answer, "quiz")
    for letter in "abcd":
        quiz.check(letter * len(right))
        lines = capsys.readouterr().out.splitlines()
        assert ["✓" in line for line in lines] == [letter == one for one in right]
        assert all(options[letter][1] in line for line, (_, _, options) in zip(lines, quiz.items, strict=True))
    quiz.solution()
    said = capsys.readouterr().out
    assert all(why in said for _, _, options in quiz.items for _, why in options.values())


@pytest.mark.parametrize("answer", [None, "", "a", 5, float("nan"), ["a", "b", "c"], "abcde", b"abc"])
def test_what_is_no_answer_to_a_quiz_is_told(answer, capsys):
    MODULES["00_start_here"].quiz.check(answer)
    assert capsys.readouterr().out.startswith("✗ Not yet: 3 letters are asked, such as 'abc'; got ")


def test_a_quiz_that_is_not_answered_is_no_failure_and_another_letter_is_none(capsys):
    quiz = MODULES["00_start_here"].quiz
    quiz.check(...)
    assert capsys.readouterr().out == "Not answered yet. Replace the ... by 3 letters, and run the cell again.\n"
    quiz.check("d, A, x")
    assert [line[:12] for line in capsys.readouterr().out.splitlines()][:2] == ["1. ✓ Right, ", "2. ✓ Right, "]


def test_gar_hangs_on_the_number_of_texts_and_lar_does_not_as_the_answer_of_01_q3_says():
    texts, smol = ta.load_sentences(1000, seed=0), ta.load_embedder("smol-wmean")
    h = load_file(ta.data_dir() / "embeddings" / "sentences-smol-wmean.safetensors")["embeddings"]
    few, all_ = (ta.align(smol, texts[:n], h[:n]).rates().set_index("rate")["value"] for n in (125, 1000))
    assert abs(few["LAR"] - all_["LAR"]) < 0.01 < few["GAR"] - all_["GAR"]


def test_questions_say_how_difficult_they_are():
    assert {param.values[0].level for param in QUESTIONS} == set(LEVELS)
    with pytest.raises(ValueError, match="unknown level 'trivial'; known: easy, medium, hard"):
        Question("", lambda answer: None, "", "", "", level="trivial")


def test_an_answer_that_raises_is_told(capsys):
    question = Question("", lambda answer: answer(), "", "", "")
    question.check(lambda: 1 / 0)
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_the_command_line_prints_two_embedders(capsys):
    assert main(["What diseases are parrots prone to?"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"smol-wmean +smol-cse", out)
    assert re.search(r"▁parrots █", out)


def test_a_text_may_have_the_name_of_a_command(capsys):
    assert main(["tokens", "fetch", "-e", "smol-cse", "-k", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == "fetch"
    assert [row["rank"] for row in found["tokens"]["smol-cse"]] == [1, 2, 3]


def test_the_command_line_explains_why_two_texts_are_close(capsys):
    texts = ["A parrot fell ill.", "What diseases are parrots prone to?"]
    assert main(["explain", *texts, "-e", "smol-cse", "-k", "5"]) == 0
    cosine = float(ta.pair_similarities(ta.load_embedder("smol-cse"), pd.DataFrame([texts]))[0])
    out = capsys.readouterr().out
    assert f"smol-cse: cosine {cosine:.3f}" in out
    assert re.search(r"▁parrot █+ \+", out)
    assert main(["explain", *texts, "-e", "smol-cse", "-k", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cosine"]["smol-cse"] == pytest.approx(cosine, abs=1e-4)
    assert len(found["tokens"]["smol-cse"]) == 10


@pytest.mark.parametrize("command", [[], ["tokens"], ["explain"], ["examine"], ["list"], ["fetch"]])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    out = capsys.readouterr().out
    assert out.startswith(f"usage: {' '.join(['tokalign-helpers', *command])} ")
    assert "--help" in out


def test_nothing_to_do_is_said(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "required: COMMAND" in capsys.readouterr().err


def test_the_list_is_there_for_other_programs(capsys):
    assert main(["list", "--json"]) == 0
    assert [row["embedder"] for row in json.loads(capsys.readouterr().out)] == list(ta.EMBEDDERS)


def test_fetch_says_where_the_model_is(capsys):
    assert main(["fetch"]) == 0
    folder = capsys.readouterr().out.removeprefix("The model is ready in ").strip()
    assert (Path(folder) / "config.json").is_file()


@pytest.mark.parametrize("arguments", [["x", "-e", "smol-eool"], [" "], ["x", "-k", "0"]])
def test_the_command_line_tells_bad_input_in_one_line(arguments, capsys):
    assert main(arguments) == 2
    assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)


def bounds(requirements):
    names = (re.fullmatch(r"([A-Za-z0-9_.-]+)(.*?)(?:;.*)?", r.replace(" ", "")).groups() for r in requirements)
    return {name.lower(): limit for name, limit in names}


def test_the_conda_environment_is_in_step_with_the_package():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    found = bounds([e for e in [*entries, *pip] if isinstance(e, str) and not e.startswith("-e")])
    wanted = bounds(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"])
    assert {CONDA_NAMES.get(n, n): limit for n, limit in wanted.items()} == {
        n: limit for n, limit in found.items() if n not in ("python", "pip")
    }


def test_what_the_readme_points_to_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    local = [target for target in re.findall(r"\]\(([^)#]+)", text) if not target.startswith(("http", "../../tree/"))]
    assert len(local) >= 3
    assert [target for target in local if not (ROOT / target).is_file()] == []


def test_set_up_says_what_is_there_and_refuses_another_version(capsys):
    ta.setup(PROJECT["version"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["device", "model", "embeddings"]
    assert "from the cache" in lines[1]
    assert pd.get_option("display.width") == np.get_printoptions()["linewidth"] == 100
    with pytest.raises(RuntimeError, match="this notebook is for tokalign-helpers 9.9, but"):
        ta.setup("9.9")
