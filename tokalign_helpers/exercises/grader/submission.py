"""Find the answers in a submitted notebook, with the statements that each of them draws on, without running it."""

import ast
import os
import re
import stat
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

KEEP = "__checked__"  # the function that takes an answer out of a learner's cell
LARGEST = 20 * 2**20  # bytes of a notebook; one of the course has 0.2 MB, with pictures 2
_CHECK = re.compile(r"\bq(\d)\.check\s*\(")
_MADE = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_MOST_CELLS, _MOST_CODE = 1000, 100_000  # far more than a notebook of the course has; work grows with the square
_PYTHON_BELOW = ("time", "timeit", "capture", "prun")  # cell magics whose cell is Python all the same


@dataclass(frozen=True)
class Answer:
    """What a notebook has for one question.

    Parameters
    ----------
    source : str
        Python that hands the answer to ``__checked__``; empty when there is none.
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
        The notebook.

    Returns
    -------
    tuple[str, dict[int, Answer]]
        The number of the notebook, and an answer by the question's number.

    Raises
    ------
    ValueError
        If the file is not a notebook of this course, or is far too long.
    """
    try:
        notebook = nbformat.reads(_read_whole(path), as_version=4)
        cells = [_text(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    except Exception as error:  # nbformat raises what its JSON reader and its validator raise
        raise ValueError(f"{path} is not a notebook: {error}") from None
    if len(cells) > _MOST_CELLS or sum(map(len, cells)) > _MOST_CODE:
        raise ValueError(f"{path} has over {_MOST_CELLS} cells or {_MOST_CODE:,} characters of code; it is not graded")
    number = re.search(r"^\s*from tokalign_helpers\.exercises import ex(\d\d)\b", "\n".join(cells), re.MULTILINE)
    if number is None:
        raise ValueError(
            f"{path} has no line 'from tokalign_helpers.exercises import ex..'; is it a notebook of this course?"
        )
    return number[1], find_answers(cells)


def _read_whole(path: Path) -> str:
    """Read a file that somebody else made: an ordinary one, and of a notebook's size."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not an ordinary file")
        if about.st_size > LARGEST:
            raise ValueError(f"{about.st_size:,} bytes, and {LARGEST:,} are the most; clear its outputs")
        with open(handle, "rb", closefd=False) as file:
            return file.read(LARGEST).decode("utf-8")
    finally:
        os.close(handle)


def _text(source: object) -> str:
    if not isinstance(source, str):
        raise TypeError(f"the source of a cell is {source!r}")
    return source


def as_python(cell: str) -> str:
    """Turn what only a notebook takes into Python, as IPython itself does: magics, shell commands, questions.

    Parameters
    ----------
    cell : str
        Source of a code cell.

    Returns
    -------
    str

    Raises
    ------
    SyntaxError
        If the cell is of another language, by its magic.
    """
    first, _, rest = cell.lstrip().partition("\n")
    if first.startswith("%%"):
        if first[2:].split(maxsplit=1)[:1] not in [[name] for name in _PYTHON_BELOW]:
            raise SyntaxError(f"a cell of {first.split()[0]}")
        cell = rest
    return TransformerManager().transform_cell(cell)


def find_answers(cells: list[str]) -> dict[int, Answer]:
    """Find the checks in the code cells; of two for one question the later one counts.

    Parameters
    ----------
    cells : list[str]
        Sources of the code cells, in order.

    Returns
    -------
    dict[int, Answer]
    """
    answers: dict[int, Answer] = {}
    asked: dict[int, tuple[int, list[ast.stmt], list[ast.stmt]]] = {}
    earlier: list[ast.stmt] = []
    for cell in cells:
        try:
            body = ast.parse(as_python(cell)).body
            for statement in body:
                _read(statement), _changed(statement)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            for match in _CHECK.finditer(cell):
                answers[int(match[1])] = Answer(problem=f"the cell is no Python: {error}")
                asked.pop(int(match[1]), None)
            continue
        for place, statement in enumerate(body):
            for number in _checked(statement):
                last = body[place:] if isinstance(statement, _MADE) else [statement]  # what calls it is below
                asked[number] = len(earlier), body[:place], last
        earlier += body
    for number, (before, own, last) in asked.items():
        try:
            answers[number] = _answer(number, earlier[:before], own, last)
        except (ValueError, RecursionError, MemoryError) as error:
            answers[number] = Answer(problem=f"the cell cannot be taken apart: {error}")
    return answers


def _checked(statement: ast.stmt) -> dict[int, ast.expr]:
    """Find each ``ex.q1.check(value)`` in a statement, however deep: the value by the question's number."""
    return dict(check for node in ast.walk(statement) if (check := _check(node)))


def _check(node: ast.AST) -> tuple[int, ast.expr] | None:
    """Match ``ex.q1.check(value)`` or ``q1.check(answer=value)``: the question's number and the value."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "check"):
        return None
    owner = node.func.value
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    match = re.fullmatch(r"q([1-9])", name)
    given = [*node.args, *(word.value for word in node.keywords if word.arg == "answer")]
    one = len(given) == 1 == len(node.args) + len(node.keywords)
    return (int(match[1]), given[0]) if match and one else None


class _HandOver(ast.NodeTransformer):
    """Replace the check of one question by handing its value over, and the checks of others by nothing."""

    def __init__(self, number: int) -> None:
        self.number = number

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802 - the name that ast looks for
        check = _check(node)
        if check is None:
            return self.generic_visit(node)
        number, value = check
        if number != self.number:
            return ast.Constant(None)
        return ast.Call(ast.Name(KEEP, ast.Load()), [self.visit(value)], [])


def _answer(number: int, earlier: list[ast.stmt], own: list[ast.stmt], last: list[ast.stmt]) -> Answer:
    if _is_a_check(last[0]) and _is_blank(own, _checked(last[0])[number]):
        return Answer()
    statements = [*earlier, *(statement for statement in own if not _is_a_check(statement)), *last]
    inside = _read_inside(statements)
    set_by = _set_inside(statements)
    wanted: set[str] = {"*"}
    kept: list[ast.stmt] = []
    for place, statement in reversed(list(enumerate(statements))):
        if place >= len(earlier) or (not _is_a_check(statement) and _changed(statement, set_by) & wanted):
            kept.append(statement)
            wanted = (wanted - _rebound(statement)) | _with_those_inside(_read(statement), inside)
    tree = ast.parse(ast.unparse(ast.Module([*reversed(kept)], [])))
    return Answer(ast.unparse(ast.fix_missing_locations(_HandOver(number).visit(tree))))


def _is_a_check(statement: ast.stmt) -> bool:
    """Return whether a statement is a check and nothing else."""
    return isinstance(statement, ast.Expr) and _check(statement.value) is not None


def _is_blank(own: list[ast.stmt], value: ast.expr) -> bool:
    """Return whether the answer is still the ``...`` of the notebook."""
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


def _set_inside(statements: list[ast.stmt]) -> dict[str, set[str]]:
    """By the name of a function: the globals that a call of it may bind."""
    found: dict[str, set[str]] = {}
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            names = {
                s.get_name() for scope in _scopes(statement)[1:] for s in scope.get_symbols() if s.is_declared_global()
            }
            found[statement.name] = found.get(statement.name, set()) | names
    inside = _read_inside(statements)
    return {
        name: names.union(*(found.get(n, set()) for n in _with_those_inside({name}, inside)))
        for name, names in found.items()
    }


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


def _changed(statement: ast.stmt, set_by: dict[str, set[str]] | None = None) -> set[str]:
    """Names that a statement binds, or whose object it may change: targets, imports, definitions, method calls.

    Where `set_by` knows a function of the notebook's own that is called: its arguments too, and the globals it declares.
    """
    set_by = set_by or {}
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
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in set_by:
            given = [*node.args, *(word.value for word in node.keywords)]
            names |= set_by[node.func.id].union(*map(_root, given))
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
