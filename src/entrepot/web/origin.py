"""By what address clients see this server: `http.public_url`, or else what their requests say."""

from urllib.parse import urlsplit

from entrepot.web.guard import Guard
from entrepot.web.message import Request


class Origin:
    """Scheme, host and path prefix as they are from outside."""

    def __init__(self, public_url: str | None, guard: Guard) -> None:
        """`guard` knows what is believed of proxies."""
        self._base = public_url.rstrip("/") if public_url else None
        self._host = urlsplit(public_url).netloc if public_url else ""
        self._guard = guard

    def of(self, request: Request) -> tuple[str, str]:
        """The address of this server without a slash at its end, and its host[:port]."""
        if self._base is not None:
            return self._base, self._host
        host = request.header(b"host") or "localhost"
        scheme = self._guard.scheme(request.client, request.headers) or request.scheme
        return f"{scheme}://{host}", host
