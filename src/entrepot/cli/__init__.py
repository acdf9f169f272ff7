"""The command line, thin: each command imports what it needs when it runs, so that `entrepot --help` starts fast."""
