"""Pulling where rows are in SQLite and bytes are objects: the fast door must not answer what it cannot send."""

import os
from pathlib import Path

from tests.support.s3 import REGION, SECRET_ACCESS_KEY, Bucket
from tests.support.serving import fresh_name, serving


def test_blobs_of_any_size_pull_back_byte_for_byte(tmp_path: Path, bucket: Bucket) -> None:
    name = fresh_name()
    with serving(
        tmp_path,
        storage__backend="s3",
        storage__s3__endpoint=bucket.endpoint,
        storage__s3__region=REGION,
        storage__s3__bucket=bucket.name,
        storage__s3__access_key_id=bucket.access_key_id,
        storage__s3__secret_access_key=SECRET_ACCESS_KEY,
    ) as server:
        for size in (0, 1, 5_000, 300_000, 9_000_000):
            content = os.urandom(size)
            path = f"/v2/{name}/blobs/{server.push_blob(name, content)}"
            for _ in range(2):
                answer = server.get(path)
                assert (answer.status, answer.body == content) == (200, True)
            assert server.head(path)["content-length"] == str(size)
