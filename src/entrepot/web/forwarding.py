"""What proxies say of the requests that they pass on: `X-Forwarded-For`, or `Forwarded` (RFC 7239).

Both are read from the right, where the proxy that is next to us has added its own; what stands to the left of it came
from outside. A header that comes in several lines is one list (RFC 9110 §5.3): some proxies add a line to what a client
has sent.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_LONGEST = 2000  # characters, from the right: what stands before has passed more proxies than anybody has
_LAST = re.compile(r'(?:^|,)((?:[^",]|"(?:\\.|[^"\\])*")*)$')
_PAIR = re.compile(r'(?:^|;)\s*([A-Za-z]+)=("(?:\\.|[^"\\])*"|[^\s;"]*)\s*(?=;|$)')


class Hop(NamedTuple):
    """Who asked a proxy, as it says, and by which scheme; empty where it does not say."""

    client: str
    scheme: str = ""


def hops(values: Sequence[bytes], *, standard: bool) -> Iterator[Hop]:
    """The hops of a header that came in these lines, the nearest first. `standard`: it is `Forwarded`."""
    text = b",".join(values).decode("latin-1")[-_LONGEST:]
    if not standard:
        yield from (Hop(part.strip()) for part in reversed(text.split(",")))
        return
    while (last := _LAST.search(text)) is not None:
        pairs = {name.lower(): _unquoted(value) for name, value in _PAIR.findall(last[1])}
        yield Hop(_node(pairs.get("for", "")), pairs.get("proto", "").lower())
        if not last.start() and not last[0].startswith(","):
            return
        text = text[: last.start()]


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _node(text: str) -> str:
    """An address without its port: `192.0.2.1:80`, `[2001:db8::1]:80` (RFC 7239 §6)."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]
