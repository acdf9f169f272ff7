"""What an answer says that an upstream was not asked about."""

from entrepot.registry.ports import Stale
from entrepot.web.message import Headers

_REASON = 1000  # characters of what an upstream has said


def stale_headers(stale: Stale) -> Headers:
    """Warning (distribution-spec, "Warnings") and Age (RFC 9111 §5.1) of what an upstream was not asked about."""
    reason = stale.reason.replace("\\", "").replace('"', "'")[:_REASON].encode("latin-1", "replace")
    headers: Headers = [(b"warning", b'299 - "this is a stored copy: %b"' % reason)]
    if stale.age is not None:
        headers.append((b"age", b"%d" % stale.age))
    return headers
