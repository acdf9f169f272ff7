"""The words of a request as values, or the error that says what is wrong with them."""

from datetime import datetime

from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.oci.reference import InvalidName, InvalidTag, check_name, check_tag
from entrepot.registry.errors import DigestInvalid, NameInvalid, PageInvalid, TagInvalid
from entrepot.web.message import Request


def name_from(text: str) -> str:
    """A repository name."""
    try:
        return check_name(text)
    except InvalidName as error:
        raise NameInvalid(str(error), {"name": text[:300]}) from None


def tag_from(text: str) -> str:
    """A tag."""
    try:
        return check_tag(text)
    except InvalidTag as error:
        raise TagInvalid(str(error), {"tag": text[:300]}) from None


def digest_from(text: str) -> Digest:
    """A digest."""
    try:
        return Digest.parse(text)
    except InvalidDigest as error:
        raise DigestInvalid(str(error), {"digest": text[:300]}) from None


def reference_from(text: str) -> Digest | str:
    """A digest, or else a tag: whatever has a colon can only be a digest."""
    return digest_from(text) if ":" in text else tag_from(text)


def time_from(text: str) -> int:
    """A time of RFC 3339, in microseconds since 1970. Its letters may be small (§5.6)."""
    try:
        time = datetime.fromisoformat(text.upper())
        if time.tzinfo is None:
            raise ValueError("no time zone")
        return int(time.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        raise TagInvalid("at must be a time such as 2026-11-01T00:00:00Z", {"at": text[:80]}) from None


def page_from(request: Request) -> tuple[str, int | None]:
    """`last` and `n` of a listing."""
    count = request.query.one("n")
    if count is None or count == "":
        return request.query.one("last") or "", None
    if not count.isascii() or not count.isdigit():
        raise PageInvalid("n must be a number of entries, 0 or more", {"n": count[:40]})
    return request.query.one("last") or "", int(count.lstrip("0")[:9] or "0")
