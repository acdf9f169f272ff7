"""Modules are short enough to read in one go, functions to see at a glance."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.tools import CHECKOUT

MODULE_LINES = 400
FUNCTION_LINES = 40
ALLOWED = {
    "src/entrepot/web/fast_door.py: answer": "the hot path: each call of a smaller function is paid on every pull",
}
"""What may be longer, and why."""


def sources() -> Iterator[Path]:
    for room in ("src", "tests", "bench", "deploy"):
        yield from (CHECKOUT / room).rglob("*.py")


def too_long() -> Iterator[str]:
    for path in sources():
        text = path.read_text()
        place = str(path.relative_to(CHECKOUT))
        if len(text.splitlines()) > MODULE_LINES:
            yield place
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                last = node.end_lineno or node.lineno
                if last - node.lineno >= FUNCTION_LINES:
                    yield f"{place}: {node.name}"


def test_modules_and_functions_keep_to_their_budget() -> None:
    """Split what is named here; what must stay long needs its reason in ALLOWED."""
    assert sorted(too_long()) == sorted(ALLOWED)
