"""Merge flags, environment, file and defaults, in this order of precedence, and say where each value came from."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import yaml

from entrepot.config.contradictions import contradictions
from entrepot.config.keys import Setting
from entrepot.config.settings import (
    PRESETS,
    SECTIONS,
    SETTINGS,
    ConfigError,
    Settings,
    assemble,
)
from entrepot.proxy.upstream import canonical_alias

DEFAULT_FILE = Path("entrepot.yaml")

REGISTRY_VARIABLES = {
    "REGISTRY_HTTP_ADDR": "http.listen",
    "REGISTRY_HTTP_TLS_CERTIFICATE": "http.tls.certificate",
    "REGISTRY_HTTP_TLS_KEY": "http.tls.key",
    "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "data_dir",
    "REGISTRY_STORAGE_DELETE_ENABLED": "storage.delete.enabled",
    "REGISTRY_AUTH_HTPASSWD_PATH": "auth.htpasswd",
}
"""The variables of the registry:2 image that mean the same here."""

# `htpasswd`, and the name of its realm, which no client looks at: the path says it all.
_IMPLIED = frozenset({"REGISTRY_AUTH", "REGISTRY_AUTH_HTPASSWD_REALM"})

_PROXY = frozenset(f"REGISTRY_PROXY_{key}" for key in ("REMOTEURL", "USERNAME", "PASSWORD", "TTL"))

_NOT_SETTINGS = frozenset({"ENTREPOT_CONFIG", "ENTREPOT_ADMIN_PASSWORD"})

# Kubernetes and Docker links describe a service named `entrepot` or `registry` to its neighbours by variables such as
# ENTREPOT_SERVICE_HOST and ENTREPOT_PORT_5000_TCP: nobody configured anything by them. No key looks like that.
_SERVICE_LINK = re.compile(
    r"\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://\S+")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, where each key's value came from, and what the operator should hear of."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: list[str]


class _Given(NamedTuple):
    """A value as it was written, and where."""

    written: str | list[str]
    origin: str


def find_file(named: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The file to read: the one named by a flag, else by ENTREPOT_CONFIG, else ./entrepot.yaml when it is there."""
    if named is not None:
        return named
    if environment.get("ENTREPOT_CONFIG"):
        return Path(environment["ENTREPOT_CONFIG"])
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]) -> Loaded:
    """Settings from this file, these variables, and these flags, by key (None stands for a flag that was not given).

    Raises ConfigError, with one line that names the key, for whatever is unknown, malformed or contradictory.
    """
    warnings: list[str] = []
    given: dict[str, _Given] = {}
    if file is not None:
        given.update(_from_file(file))
    given.update(_from_registry_variables(environment, warnings))
    given.update(_from_environment(environment))
    given.update(_from_flags(flags))
    settings: Settings = assemble({path: _read(SETTINGS[path], value) for path, value in given.items()})
    origins = {path: given[path].origin if path in given else "default" for path in SETTINGS}
    if settings.open and settings.auth.htpasswd is not None:  # the image is open by default
        warnings.append("open has no effect, as auth.htpasswd is set: whoever comes is asked for a password")
        settings = replace(settings, open=False)
    for path, problem in contradictions(settings):
        raise ConfigError(f"{path} {problem} ({origins[path]})")
    return Loaded(settings, origins, warnings)


def _read(setting: Setting, given: _Given) -> object:
    kind, written = setting.kind, given.written
    try:
        if isinstance(written, list) != setting.many:
            raise ValueError("a list where one value is wanted, or the reverse")
        return tuple(kind.read(item) for item in written) if setting.many else kind.read(str(written))
    except ValueError as error:
        if setting.structured:
            raise ConfigError(f"{setting.path}: {error} ({given.origin})") from None
        quoted = "" if kind.secret else f", not {_shorten(repr(written))}"
        raise ConfigError(f"{setting.path} must be {setting.form}{quoted} ({given.origin})") from None


def _from_flags(flags: Mapping[str, object]) -> Iterator[tuple[str, _Given]]:
    for path, value in flags.items():
        if value is not None:
            setting = SETTINGS[path]
            text = str(value).lower() if isinstance(value, bool) else str(value)
            yield path, _from_text(setting, text, f"flag {setting.flag or path}")


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, _Given]]:
    by_variable = {setting.variable: setting for setting in SETTINGS.values()}
    presets = {"ENTREPOT_" + path.upper().replace(".", "__"): path for path in PRESETS}
    for name in presets.keys() & environment.keys():
        yield from _from_preset(presets[name], environment[name], f"environment {name}")
    for name, value in environment.items():
        if name in presets:
            continue
        if name in by_variable:
            yield by_variable[name].path, _from_text(by_variable[name], value, f"environment {name}")
        elif name.startswith("ENTREPOT_") and name not in _NOT_SETTINGS and not _is_service_link(name, value):
            raise ConfigError(f"unknown environment variable {_shown(name)}{_suggestion(name, by_variable)}")


def _from_preset(path: str, word: str, origin: str) -> Iterator[tuple[str, _Given]]:
    """The keys that a word stands for."""
    words = PRESETS[path]
    if word not in words:
        raise ConfigError(f"{path} must be a group of keys or the word {' or '.join(words)} ({origin})")
    for key, written in words[word].items():
        yield key, _Given(written, origin)


def _from_proxy_variables(environment: Mapping[str, str], warnings: list[str]) -> Iterator[tuple[str, _Given]]:
    """What makes registry:2 a mirror makes the whole server one."""
    url = environment.get("REGISTRY_PROXY_REMOTEURL", "").rstrip("/")
    if not url:
        return
    keys = {"url": url, "read": "everyone"}
    for name in ("USERNAME", "PASSWORD"):
        if environment.get(f"REGISTRY_PROXY_{name}"):
            keys[name.lower()] = environment[f"REGISTRY_PROXY_{name}"]
    lifetime = environment.get("REGISTRY_PROXY_TTL", "0")
    if re.fullmatch(r"0*[1-9][0-9]*[smh]", lifetime):
        keys["keep"] = lifetime
    elif not re.fullmatch(r"0+[smh]?", lifetime):
        warnings.append(f"REGISTRY_PROXY_TTL has no effect: it is a duration such as 168h here, not {_shown(lifetime)}")
    alias = canonical_alias(urlsplit(url).netloc)
    if "." not in alias:  # as in a network of containers; here nobody sees what it is called
        alias = f"{urlsplit(url).hostname}.mirror"
    origin = "environment REGISTRY_PROXY_REMOTEURL"
    yield "upstreams", _Given(json.dumps({alias: keys}), origin)
    yield "mirror.upstream", _Given(alias, origin)
    yield "mirror.everywhere", _Given("true", origin)
    yield "open", _Given("true", origin)


def _from_registry_variables(environment: Mapping[str, str], warnings: list[str]) -> Iterator[tuple[str, _Given]]:
    yield from _from_proxy_variables(environment, warnings)
    for name, value in environment.items():
        if name in REGISTRY_VARIABLES:
            setting = SETTINGS[REGISTRY_VARIABLES[name]]
            yield setting.path, _from_text(setting, value, f"environment {name}")
        elif name in _IMPLIED or name in _PROXY:
            continue
        elif name.startswith("REGISTRY_") and not _is_service_link(name, value):
            warnings.append(f"{_shown(name)} has no effect here: `entrepot config show` lists the settings there are")


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_URL.fullmatch(value)))


def _from_text(setting: Setting, text: str, origin: str) -> _Given:
    """What a variable or a flag gives: the text itself, or for a list its items, written as JSON."""
    if not setting.many and not setting.structured:
        return _Given(text, origin)
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        return _Given(text, origin)
    if setting.structured:
        return _Given("" if node is None else json.dumps(_plain(node)), origin)
    items = None if node is None else _items(node)
    return _Given(text if items is None else items, origin)


def _from_file(file: Path) -> Iterator[tuple[str, _Given]]:
    """Every key of a YAML file, with its line.

    Plain scalars stay the text that was written: YAML 1.1 would make 22:22 a number and `no` a boolean.
    """
    try:
        with file.open("rb") as stream:
            root = yaml.compose(stream, Loader=yaml.BaseLoader)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {_shown(str(file))}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{_shown(str(file))} is not YAML: {_problem(error)}") from None
    if root is not None and not _is_null(root):
        yield from _from_mapping(root, "", file)


def _from_mapping(node: yaml.Node, prefix: str, file: Path) -> Iterator[tuple[str, _Given]]:
    if not isinstance(node, yaml.MappingNode):
        where = f"{prefix.rstrip('.')} must be" if prefix else "the configuration must be"
        raise ConfigError(f"{where} a group of keys ({_place(file, node)})")
    seen: set[str] = set()
    for name, value in node.value:
        path = f"{prefix}{_shown(str(name.value))}"
        place = _place(file, name)
        if path in seen:
            raise ConfigError(f"{path} stands twice ({place})")
        seen.add(path)
        if "." in name.value or (path not in SETTINGS and path not in SECTIONS):
            raise ConfigError(f"unknown key {path} ({place}){_suggestion(path, [*SETTINGS, *SECTIONS])}")
        if _is_null(value):
            continue
        if path in PRESETS and isinstance(value, yaml.ScalarNode):
            yield from _from_preset(path, value.value, place)
        elif path in SECTIONS:
            yield from _from_mapping(value, path + ".", file)
        else:
            yield path, _Given(_scalar_or_items(SETTINGS[path], value, place), place)


def _plain(node: yaml.Node) -> object:
    """A node as JSON has it; scalars stay the text that was written."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return None if _is_null(node) else str(node.value)


def _scalar_or_items(setting: Setting, node: yaml.Node, place: str) -> str | list[str]:
    if setting.structured:
        return json.dumps(_plain(node))
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    items = _items(node)
    if items is None:
        raise ConfigError(f"{setting.path} must be {setting.form} ({place})")
    return items


def _items(node: yaml.Node) -> list[str] | None:
    """The items of a list of scalars; None when it is anything else."""
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return None
    return [str(item.value) for item in node.value]


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null")


def _place(file: Path, node: yaml.Node) -> str:
    return f"file {_shown(str(file))}, line {node.start_mark.line + 1}"


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return _shorten(" ".join(str(error).split()))


def _suggestion(name: str, known: Iterable[str]) -> str:
    """The nearest known name. What all names begin with says nothing, and dots and underscores are easily confused."""
    folded = {re.sub(r"[._]+", ".", each.removeprefix("ENTREPOT_")).lower(): each for each in known}
    near = difflib.get_close_matches(re.sub(r"[._]+", ".", name.removeprefix("ENTREPOT_")).lower(), folded, n=1)
    if near and folded[near[0]] == name:
        return f"; write {name.replace('.', ': {')}: …{'}' * name.count('.')}, one level inside the other"
    return f"; did you mean {folded[near[0]]}?" if near else "; `entrepot config show` lists the keys there are"


def _shown(text: str) -> str:
    """Text from outside, kept to one line."""
    return _shorten(text if text.isprintable() else repr(text))


def _shorten(text: str) -> str:
    limit = 200
    return text if len(text) <= limit else text[:limit] + "…"
