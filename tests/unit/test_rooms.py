"""The package's rooms: who may import whom. A picture of the same stands in CONTRIBUTING."""

import ast
from pathlib import Path

import tokalign_helpers

PACKAGE = Path(tokalign_helpers.__file__).parent
# From the ground up: a room imports rooms of lower floors, and modules of its own.
FLOORS = (
    {"basics"},
    {"datasets", "models"},
    {"reading"},
    {"retrieval"},
    {"course", "exercises", "training"},
    {"examination"},
    {"reproduction"},
    {"__main__"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module):
    return module.split(".")[1] if module.count(".") else "__init__"


def arrows():
    """Yield (file, its room, the room it imports) for every import inside the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in ("__init__", "data", "notebooks"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tokalign_helpers"):
                names = [node.module] if "." in node.module else [f"{node.module}.{a.name}" for a in node.names]
                yield from ((file.relative_to(PACKAGE), parts[0], room_of(name)) for name in names)


def test_imports_run_downwards():
    bad = [
        f"{file} imports {theirs}" for file, own, theirs in arrows() if own != theirs and not FLOOR[theirs] < FLOOR[own]
    ]
    assert not bad


def test_every_room_says_what_it_is():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()} - {"data", "notebooks"}
    assert rooms == set(FLOOR) - {"examination", "reproduction", "__main__"}
    for room in rooms:
        assert ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
