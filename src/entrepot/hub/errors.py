"""What can go wrong in the hub. These know no HTTP: `web/api/problems.py` gives each its status.

HubError
├── Invalid
├── NotThere
├── Forbidden
├── Taken
├── LimitReached
└── ReadThrough
"""


class HubError(Exception):
    """A refusal: a sentence for people that says what to do; `field` names what of the input is meant."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class Invalid(HubError):
    """The input cannot be used."""


class NotThere(HubError):
    """There is no such thing, or none that the caller may know of: both are told alike."""


class Forbidden(HubError):
    """The caller may know of it, but not do this."""


class Taken(HubError):
    """The name is taken, or the thing is already so."""


class LimitReached(HubError):
    """The plan does not allow more."""


class ReadThrough(HubError):
    """The name is one of another registry, whose repositories can only be read here."""
