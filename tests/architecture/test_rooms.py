"""Each room of the house has a purpose that its name and its docstring say."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.tools import CHECKOUT

HOUSE = CHECKOUT / "src" / "entrepot"
MEANINGLESS = {"utils", "util", "common", "helpers", "helper", "core", "base", "manager", "managers", "misc"}


def modules() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def test_no_room_is_empty() -> None:
    for initial in HOUSE.rglob("__init__.py"):
        others = [path for path in initial.parent.rglob("*.py") if path.name != "__init__.py"]
        assert others, f"{initial.parent} is empty"


def test_every_directory_of_modules_is_a_package() -> None:
    rooms = {path.parent for path in modules()}
    without = [str(room) for room in rooms if not (room / "__init__.py").exists()]
    # Alembic loads its scripts by path.
    assert [room for room in without if "migrations" not in room] == []


def test_no_name_says_nothing() -> None:
    for path in [*HOUSE.rglob("*"), *(CHECKOUT / "tests").rglob("*"), *(CHECKOUT / "bench").rglob("*")]:
        assert path.stem not in MEANINGLESS, path


def test_whatever_is_public_has_a_docstring() -> None:
    assert [name for path in modules() for name in undocumented(path)] == []


def undocumented(path: Path) -> Iterator[str]:
    """The public module, classes, functions and methods of a file that have no docstring."""
    place = str(path.relative_to(HOUSE))
    tree = ast.parse(path.read_text())
    if not ast.get_docstring(tree) and tree.body:
        yield place
    yield from _undocumented_in(tree, place)


def _undocumented_in(parent: ast.Module | ast.ClassDef, place: str) -> Iterator[str]:
    for node in parent.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{place}: {node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented_in(node, f"{place}: {node.name}")
