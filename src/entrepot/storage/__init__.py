"""Bytes: where they lie (`layout.py`), on a filesystem or in object storage."""
