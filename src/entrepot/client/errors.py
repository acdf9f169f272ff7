"""What another registry can answer besides what was asked for.

RemoteError
├── RemoteAbsent, RemoteDenied
├── RemoteBusy, NoLogin, PrivateAddress (connections.py)
├── RemoteFailed ── RemoteUnreachable ── RemoteSilent     it is down, or soon will be
├── RemoteUnusable, RemoteCrowded
└── RemoteLied
"""


class RemoteError(Exception):
    """The other registry did not give what was asked for; the message says who said what."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RemoteAbsent(RemoteError):
    """404: it has no such thing."""


class RemoteDenied(RemoteError):
    """401 or 403: we may not have it. `forbidden`: it was 403."""

    def __init__(self, message: str, *, forbidden: bool) -> None:
        super().__init__(message)
        self.forbidden = forbidden


class RemoteBusy(RemoteError):
    """429: too many requests. `retry_after` in seconds, as it said; None when it did not say."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoLogin(RemoteError):
    """The login cannot be had here, or cannot be used there: what was wanted was not asked for."""


class RemoteFailed(RemoteError):
    """5xx."""


class RemoteUnreachable(RemoteFailed):
    """No connection, or one that broke."""


class RemoteSilent(RemoteUnreachable):
    """No answer in time."""


class RemoteUnusable(RemoteError):
    """It answers, but with nothing that can be used: another 4xx, which says more of what it was asked than of it; a
    redirect in circles, a list that is none."""


class RemoteCrowded(RemoteError):
    """It was not asked, as too much is asked of it from here already."""


class RemoteLied(RemoteError):
    """What came does not have the digest or the size that it must have."""
