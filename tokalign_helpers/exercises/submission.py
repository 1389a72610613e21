"""Find the answers in a submitted notebook, with the statements that each of them draws on, without running it."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

ANSWER = "__answer__"
_CHECK = re.compile(r"\bq(\d+)\.check\s*\(")
_MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """What a notebook has for one question.

    Parameters
    ----------
    source : str
        Python that leaves the answer in ``__answer__``; empty when there is none.
    problem : str
        Why it cannot be run; empty when it can.
    """

    source: str = ""
    problem: str = ""


def read_submission(path: Path) -> tuple[str, dict[int, Answer]]:
    """Read a notebook's number and its answers.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple[str, dict[int, Answer]]
        The number of the notebook, and an answer by the question's number.

    Raises
    ------
    ValueError
        If the file is no notebook, or none of this course.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    except Exception as error:  # nbformat raises what its JSON reader and its validator raise
        raise ValueError(f"{path} is no notebook: {error}") from None
    number = re.search(r"^\s*from tokalign_helpers\.exercises import ex(\d\d)\b", "\n".join(cells), re.MULTILINE)
    if number is None:
        raise ValueError(f"{path} has no line 'from tokalign_helpers.exercises import ex..'; is it of this course?")
    return number[1], find_answers(cells)


def find_answers(cells: list[str]) -> dict[int, Answer]:
    """Find the checks in the code cells; of two for one question the later one counts.

    Parameters
    ----------
    cells : list[str]

    Returns
    -------
    dict[int, Answer]
    """
    answers: dict[int, Answer] = {}
    earlier: list[ast.stmt] = []
    for cell in cells:
        source = _MAGIC.sub("", cell)
        try:
            body = ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            for match in _CHECK.finditer(source):
                answers[int(match[1])] = Answer(problem=f"the cell is no Python: {error}")
            continue
        for place, statement in enumerate(body):
            found = _checked(statement)
            if found:
                answers[found[0]] = _answer(earlier, body[:place], found[1])
        earlier += body
    return answers


def _checked(statement: ast.stmt) -> tuple[int, ast.expr] | None:
    """Match ``ex.q1.check(value)``."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "check"):
        return None
    owner = call.func.value
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    match = re.fullmatch(r"q(\d+)", name)
    return (int(match[1]), call.args[0]) if match and len(call.args) == 1 else None


def _answer(earlier: list[ast.stmt], own: list[ast.stmt], value: ast.expr) -> Answer:
    if _is_blank(own, value):
        return Answer()
    own = [statement for statement in own if not _checked(statement)]
    wanted = _read([*own, ast.Expr(value)])
    kept: list[ast.stmt] = []
    for statement in reversed(earlier):
        if not _checked(statement) and _changed(statement) & wanted:
            kept.insert(0, statement)
            wanted |= _read([statement])
    last = ast.Assign([ast.Name(ANSWER, ast.Store())], value)
    module = ast.fix_missing_locations(ast.Module([*kept, *own, last], []))
    return Answer(ast.unparse(module))


def _is_blank(own: list[ast.stmt], value: ast.expr) -> bool:
    """Say whether the answer is still the ``...`` of the notebook."""
    if isinstance(value, ast.Name):
        given = [s.value for s in own if isinstance(s, ast.Assign) and value.id in _changed(s)]
        defined = any(value.id in _changed(s) for s in own if not isinstance(s, ast.Assign))
        value = given[-1] if given and not defined else value
    return isinstance(value, ast.Constant) and value.value is ...


def _read(statements: list[ast.stmt]) -> set[str]:
    return {node.id for s in statements for node in ast.walk(s) if isinstance(node, ast.Name)}


def _changed(statement: ast.stmt) -> set[str]:
    """Names that a statement binds, or whose object it may change: targets, imports, definitions, method calls."""
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            names |= _root(node)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        names |= _root(statement.value.func)
    return names


def _root(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()
