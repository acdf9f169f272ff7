"""Requests between nodes: a signature holds for one request, for a minute, and for those who have the root secret."""

from collections.abc import Callable

import pytest

from entrepot.access.node_key import NodeKey

ROOT = b"0123456789abcdef0123456789abcdef"
TARGET = "/nodes/arriving?digest=sha256:12&start=0&size=10"


def at(seconds: float) -> Callable[[], float]:
    """A clock that stands."""
    return lambda: seconds


def test_what_a_node_signs_another_accepts_for_a_minute() -> None:
    signed = NodeKey(ROOT, at(1000)).sign("GET", TARGET)
    assert [NodeKey(ROOT, at(now)).accepts("GET", TARGET, signed) for now in (939, 940, 1000, 1060, 1061)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_signature_holds_for_nothing_else() -> None:
    key = NodeKey(ROOT, at(1000))
    signed = key.sign("GET", TARGET)
    assert key.accepts("GET", TARGET, signed)
    assert not key.accepts("HEAD", TARGET, signed)
    assert not key.accepts("GET", TARGET + "0", signed)
    assert not NodeKey(b"another" + ROOT, at(1000)).accepts("GET", TARGET, signed)
    assert not key.accepts("GET", TARGET, signed.replace("1000", "1001"))


@pytest.mark.parametrize("header", [None, "", "EntrepotNode", "EntrepotNode 1000.", "EntrepotNode 1000." + "0" * 64])
def test_what_is_no_signature_is_refused(header: str | None) -> None:
    assert not NodeKey(ROOT, at(1000)).accepts("GET", TARGET, header)
