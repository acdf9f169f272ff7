"""The benchmark behind `make bench`: Entrepot beside other registries and nginx, in one run (README.md)."""
