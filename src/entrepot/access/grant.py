"""What a request may pull: the value that the data plane is handed, and asks before it answers."""

from dataclasses import dataclass
from typing import Protocol


class Grant(Protocol):
    """Which repositories may be read. A repository is meant by its id and its rights' version, never by its name alone:
    a token from before a rename, a transfer or a re-creation opens nothing."""

    @property
    def everything(self) -> bool:
        """Whether it is for every repository there is (no accounts)."""
        ...

    def covers(self, name: str, repository: int, rights_version: int) -> bool:
        """Whether this repository, stored under this name, may be read."""
        ...

    def names(self, name: str) -> bool:
        """Whether the holder may be told that no repository has this name."""
        ...

    def fetches(self, name: str) -> bool:
        """Whether what the upstream of this repository has and is not stored here may be fetched for the holder."""
        ...


class Everything:
    """The grant of a registry without accounts."""

    everything = True

    def covers(self, name: str, repository: int, rights_version: int) -> bool:
        """Yes."""
        return True

    def names(self, name: str) -> bool:
        """Yes."""
        return True

    def fetches(self, name: str) -> bool:
        """Yes."""
        return True


EVERYTHING = Everything()


@dataclass(frozen=True, slots=True)
class OneRepository:
    """What a decision has just allowed: one repository, or its absence when `repository` is None."""

    name: str
    repository: int | None
    rights_version: int
    fetch: bool = False
    everything: bool = False

    def covers(self, name: str, repository: int, rights_version: int) -> bool:
        """Whether it is that very repository."""
        return name == self.name and repository == self.repository and rights_version == self.rights_version

    def names(self, name: str) -> bool:
        """Whether it is of that name."""
        return name == self.name

    def fetches(self, name: str) -> bool:
        """Whether that was allowed too."""
        return self.fetch and name == self.name


NOTHING = OneRepository("", None, 0)
