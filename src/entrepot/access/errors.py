"""What can go wrong when somebody says who they are. These know no HTTP.

AccessError
├── LoginRefused ── Throttled
└── TokenInvalid
"""


class AccessError(Exception):
    """A refusal; the message is a sentence for people, and never says whether an account exists."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class LoginRefused(AccessError):
    """The name and the secret do not belong together, or the account or the credential has ended."""


class Throttled(LoginRefused):
    """Too many failures: nothing was looked at. `seconds` is when to come back."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class TokenInvalid(AccessError):
    """The access token is no token of this registry, or its time is over."""
