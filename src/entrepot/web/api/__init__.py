"""The hub over HTTP: JSON under `/api/v1/`, described by OpenAPI."""
