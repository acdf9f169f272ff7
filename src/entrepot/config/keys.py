"""What is known of a key of the configuration, and the fields of `settings.py` that carry it."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

from entrepot.config.kinds import Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one key. `many`: its value is a list of `kind`; `default` is written as a value would be."""

    kind: Kind[Any]
    help: str
    default: str
    many: bool = False
    flag: str | None = None
    path: str = ""
    structured: bool = False
    """Its value is a group of groups: JSON in a variable."""

    @property
    def variable(self) -> str:
        """The environment variable that sets it: that of `storage.s3.bucket` is ENTREPOT_STORAGE__S3__BUCKET."""
        return "ENTREPOT_" + self.path.upper().replace(".", "__")

    @property
    def form(self) -> str:
        """What a value must be."""
        return f'a list such as ["A", "B"], each {self.kind.form}' if self.many else self.kind.form

    def write(self, value: Any) -> str:
        """The value as it may be shown to people: secrets are masked."""
        if self.many:
            return "[" + ", ".join(f'"{self.kind.write(item)}"' for item in value) + "]"
        return self.kind.write(value)


def one(kind: Kind[T], default: T, text: str, *, flag: str | None = None, described: str | None = None) -> T:
    """A field with one value; `described` stands for a default that differs from machine to machine."""
    shown = kind.write(default) if described is None else described
    return field(default=default, repr=not kind.secret, metadata={"setting": Setting(kind, text, shown, flag=flag)})


def many(kind: Kind[T], text: str) -> tuple[T, ...]:
    """A field with a list of values, by default none."""
    return field(default=(), metadata={"setting": Setting(kind, text, "[]", many=True)})
