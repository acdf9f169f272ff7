"""Versions of the schema. Each only adds first and removes a release later."""
