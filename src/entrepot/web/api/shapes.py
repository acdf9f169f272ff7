"""What every resource of the API is made of: who asks, from where, times, pages."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel, BeforeValidator

from entrepot.access.actor import Actor

T = TypeVar("T")
PAGE, MOST = 25, 100  # items in a page: unless asked for another number, and at most
ACTOR, ADDRESS = "entrepot.actor", "entrepot.address"  # where the scope of a request has them


def _who(request: Request) -> Actor:
    actor: Actor = request.scope[ACTOR]
    return actor


def _address(request: Request) -> str:
    return str(request.scope[ADDRESS])


def _rfc3339(time: object) -> object:
    """Microseconds since 1970 as RFC 3339 writes them."""
    if not isinstance(time, int):
        return time
    return datetime.fromtimestamp(time / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Who = Annotated[Actor, Depends(_who)]
Address = Annotated[str, Depends(_address)]
Time = Annotated[str, BeforeValidator(_rfc3339)]
After = Annotated[str, Query(max_length=300, description="Where the page begins: `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many items a page has at most.")]
AfterNumber = Annotated[
    int, Query(ge=0, le=2**53, description="Where the page begins: `next` of the page before, or 0.")
]
Moment = Annotated[int, Query(ge=0, le=2**53, description="Microseconds since 1970.")]
Identity = Annotated[int, Path(ge=1, le=2**53, description="Its number.")]


class Page(BaseModel, Generic[T]):
    """A page of a list: `next` is the `after` of the page that follows, null at the end."""

    items: list[T]
    next: str | None


def page(items: Sequence[object], keys: Sequence[object], limit: int) -> dict[str, object]:
    """Up to `limit` items as a Page, when one more than these was asked for; `keys`: by what each goes on."""
    more = len(items) > limit
    return {"items": list(items[:limit]), "next": str(keys[limit - 1]) if more else None}
