"""The token endpoint: where clients that were challenged at `/v2/` get their tokens."""
