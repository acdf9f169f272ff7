"""Every setting: its default, its help, what it accepts, and where its value comes from.

`settings.py` is the tree, `kinds.py` what a value may look like, `loading.py` merges flags, environment and file,
`document.py` writes docs/configuration.md.
"""

from entrepot.config.kinds import Address
from entrepot.config.loading import Loaded, find_file, load
from entrepot.config.settings import ConfigError, Settings

__all__ = ["Address", "ConfigError", "Loaded", "Settings", "find_file", "load"]
