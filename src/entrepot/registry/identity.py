"""Identifiers of uploads and keys of bytes, both rising with time."""

import os
import secrets
import time
import uuid


def new_upload_id() -> str:
    """A UUID of version 7 (RFC 9562 §5.7): its first 48 bits are milliseconds since 1970."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def new_key(upload: str) -> str:
    """A key for one body of this upload; no two calls give the same."""
    return f"{upload.replace('-', '')}-{os.urandom(5).hex()}"
