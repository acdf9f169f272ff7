"""docs/configuration.md, written from the tree of settings: `entrepot config docs` prints it."""

from itertools import groupby

from entrepot.config.keys import Setting
from entrepot.config.loading import REGISTRY_VARIABLES
from entrepot.config.settings import SETTINGS

_OPENING = """\
# Configuration
<!-- Written by `entrepot config docs`; change src/entrepot/config/ and write it again. -->

Nothing has to be configured: `entrepot serve` runs on the defaults below. What is configured is looked for in
this order, and the first that has a value wins:

1. flags of `entrepot serve`;
2. environment variables: `ENTREPOT_` and the key in upper case, with `__` between its levels;
3. the variables of the `registry:2` image that are listed at the end;
4. one YAML file: the one named by `--config`, else by `ENTREPOT_CONFIG`, else `entrepot.yaml` in the working directory,
   when it is there;
5. the defaults.

`entrepot config check` says whether all of it can be used, and `entrepot config show` prints each value and where it
came from, with secrets masked. An unknown key, an unknown `ENTREPOT_` variable or a bad value is an error of one line,
with exit code 2.

```yaml
# entrepot.yaml
data_dir: /var/lib/entrepot
http:
  listen: 0.0.0.0:443
  tls:
    certificate: /etc/entrepot/tls.crt
    key: /etc/entrepot/tls.key
uploads:
  lifetime: 2d
```

The same in the environment: `ENTREPOT_DATA_DIR=/var/lib/entrepot`, `ENTREPOT_HTTP__LISTEN=0.0.0.0:443`,
`ENTREPOT_HTTP__TLS__CERTIFICATE=/etc/entrepot/tls.crt` and so on.

- Durations are a number and a unit: `90s`, `5m`, `12h`, `7d`. A bare number is seconds.
- Lists are YAML lists in the file and JSON in a variable: `ENTREPOT_HTTP__HOSTS='["registry.internal"]'`.
- `upstreams` is a group of groups in the file and JSON in a variable: `ENTREPOT_UPSTREAMS='{"docker.io": {}}'`.
- Relative paths are relative to the working directory.
- A key without a value in the file has its default; an empty variable is an empty value.

## Keys
"""

_CLOSING = """\
## Coming from registry:2

These variables are read as they are; an `ENTREPOT_` variable for the same key comes first, the file after them.

| variable | key |
|---|---|
{variables}

`REGISTRY_AUTH` and `REGISTRY_AUTH_HTPASSWD_REALM` say nothing more. `REGISTRY_PROXY_REMOTEURL`, with
`REGISTRY_PROXY_USERNAME` and `REGISTRY_PROXY_PASSWORD`, makes the whole server a mirror of that registry, as it does
there (docs/cache.md). `entrepot serve` and `entrepot config check` name every other `REGISTRY_` variable in a warning.

## Variables that are not keys

- `ENTREPOT_CONFIG`: the file to read when there is no `--config`.
- `ENTREPOT_ADMIN_PASSWORD`: the password of `admin` at the first start with accounts. Without effect where accounts are
  off or an administrator exists.
- What Kubernetes and Docker links set for a service that happens to be named `entrepot` or `registry`
  (`ENTREPOT_SERVICE_HOST`, `REGISTRY_PORT=tcp://…`) is no configuration and passed over.
"""


def document() -> str:
    """The whole page."""
    groups = groupby(SETTINGS.values(), key=lambda setting: setting.path.rpartition(".")[0])
    keys = "\n".join("\n".join(_entry(setting) for setting in group) for _, group in groups)
    variables = "\n".join(f"| `{variable}` | `{path}` |" for variable, path in REGISTRY_VARIABLES.items())
    return f"{_OPENING}\n{keys}\n{_CLOSING.format(variables=variables)}"


def _entry(setting: Setting) -> str:
    ways = f"`{setting.variable}`" + (f" · flag `{setting.flag}`" if setting.flag else "")
    default = f"`{setting.default}`" if setting.default else "empty"
    return f"### `{setting.path}`\n\n{setting.help}\n\n- value: {setting.form}\n- default: {default}\n- {ways}\n"
