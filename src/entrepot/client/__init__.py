"""Talking to other registries: connections, tokens, manifests and blobs."""
