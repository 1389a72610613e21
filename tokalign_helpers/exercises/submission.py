"""Find the answers in a submitted notebook, with the statements that each of them draws on, without running it."""

import ast
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

ANSWER = "__answer__"
_CHECK = re.compile(r"\bq(\d)\.check\s*\(")
_MADE = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_MOST_CELLS, _MOST_CODE = 1000, 100_000  # far more than a notebook of the course has; work grows with the square
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
        If the file is no notebook, none of this course, or far too long.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    except Exception as error:  # nbformat raises what its JSON reader and its validator raise
        raise ValueError(f"{path} is no notebook: {error}") from None
    if len(cells) > _MOST_CELLS or sum(map(len, cells)) > _MOST_CODE:
        raise ValueError(f"{path} has over {_MOST_CELLS} cells or {_MOST_CODE:,} characters of code; it is not graded")
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
    asked: dict[int, tuple[int, list[ast.stmt], ast.expr]] = {}
    earlier: list[ast.stmt] = []
    for cell in cells:
        source = _MAGIC.sub("", cell)
        try:
            body = ast.parse(source).body
            for statement in body:
                _scopes(statement)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            for match in _CHECK.finditer(source):
                answers[int(match[1])] = Answer(problem=f"the cell is no Python: {error}")
                asked.pop(int(match[1]), None)
            continue
        for place, statement in enumerate(body):
            found = _checked(statement)
            if found:
                asked[found[0]] = len(earlier), body[:place], found[1]
        earlier += body
    return answers | {number: _answer(earlier[:before], own, value) for number, (before, own, value) in asked.items()}


def _checked(statement: ast.stmt) -> tuple[int, ast.expr] | None:
    """Match ``ex.q1.check(value)``."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "check"):
        return None
    owner = call.func.value
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    match = re.fullmatch(r"q(\d)", name)
    return (int(match[1]), call.args[0]) if match and len(call.args) == 1 else None


def _answer(earlier: list[ast.stmt], own: list[ast.stmt], value: ast.expr) -> Answer:
    if _is_blank(own, value):
        return Answer()
    own = [statement for statement in own if not _checked(statement)]
    statements = [*earlier, *own]
    inside = _read_inside(statements)
    wanted = _with_those_inside(_read(ast.Expr(value)), inside) | {"*"}
    kept: list[ast.stmt] = []
    for place, statement in reversed(list(enumerate(statements))):
        if place >= len(earlier) or (not _checked(statement) and _changed(statement) & wanted):
            kept.append(statement)
            wanted = (wanted - _rebound(statement)) | _with_those_inside(_read(statement), inside)
    last = ast.Assign([ast.Name(ANSWER, ast.Store())], value)
    module = ast.fix_missing_locations(ast.Module([*reversed(kept), last], []))
    return Answer(ast.unparse(module))


def _is_blank(own: list[ast.stmt], value: ast.expr) -> bool:
    """Say whether the answer is still the ``...`` of the notebook."""
    if isinstance(value, ast.Name):
        given = [s.value for s in own if isinstance(s, ast.Assign) and value.id in _changed(s)]
        defined = any(value.id in _changed(s) for s in own if not isinstance(s, ast.Assign))
        value = given[-1] if given and not defined else value
    return isinstance(value, ast.Constant) and value.value is ...


def _read(statement: ast.stmt) -> set[str]:
    """Names of the notebook that a statement reads, and none that is local to a function or a comprehension."""
    top, *inner = _scopes(statement)
    names = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    names |= {s.get_name() for scope in inner for s in scope.get_symbols() if s.is_global()}
    nodes = [node.target for node in ast.walk(statement) if isinstance(node, ast.AugAssign)]
    return names | {node.id for node in nodes if isinstance(node, ast.Name)}


def _read_inside(statements: list[ast.stmt]) -> dict[str, set[str]]:
    """By the name of a function or a class: what it reads, which is wanted where it is used and not where it is made."""
    found: dict[str, set[str]] = {}
    for statement in statements:
        if any(isinstance(node, _MADE | ast.Lambda) for node in ast.walk(statement)):
            for name in _changed(statement):
                found[name] = found.get(name, set()) | _read(statement)
    return found


def _with_those_inside(names: set[str], inside: dict[str, set[str]]) -> set[str]:
    found, new = set(), set(names)
    while new:
        found |= new
        new = set().union(*(inside.get(name, set()) for name in new)) - found
    return found


def _rebound(statement: ast.stmt) -> set[str]:
    """Names that have nothing of an earlier statement after this one, whatever happens in it."""
    if isinstance(statement, _MADE):
        return {statement.name}
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _changed(statement: ast.stmt) -> set[str]:
    """Names that a statement binds, or whose object it may change: targets, imports, definitions, method calls."""
    top, *inner = _scopes(statement)
    names = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    names |= {s.get_name() for scope in inner for s in scope.get_symbols() if s.is_declared_global()}
    for node in _run_now(statement):
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            names |= _root(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.alias) and node.name == "*":
            names.add("*")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            names |= _root(node.value.func)
    return names


def _scopes(statement: ast.stmt) -> list[symtable.SymbolTable]:
    """Return the scope of the module that the statement makes, then those of its functions and classes."""
    found = [symtable.symtable(ast.unparse(statement), "<answer>", "exec")]
    for scope in found:
        found += scope.get_children()
    return found


def _run_now(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what a statement runs itself: not the bodies of the functions that it defines."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _run_now(child)


def _root(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()
