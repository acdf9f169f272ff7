"""Load a configuration, or the error that it gives."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from entrepot.config import ConfigError, Loaded, load

NOTHING: Mapping[str, str] = {}


def from_environment(**variables: str) -> Loaded:
    return load(None, variables, {})


def refused(file: Path | None = None, environment: Mapping[str, str] = NOTHING, **flags: object) -> str:
    """The error that this configuration gives; always one line."""
    with pytest.raises(ConfigError) as caught:
        load(file, environment, flags)
    message = str(caught.value)
    assert message.isprintable()
    return message
