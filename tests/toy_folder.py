"""Folders that toy builds leave: what is in them, and whether all is well."""

import hashlib

from skyshards import verify
from skyshards.pipeline.workspace import WORKSPACE


def shard_bytes(folder):
    """Digest of every shard by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.hdf5"))
    }


def assert_whole(folder):
    """The folder is a good dataset and holds nothing that a build should have cleaned up."""
    assert list(verify.problems(folder)) == []
    assert not (folder / WORKSPACE).exists()
    assert not list(folder.rglob(".*"))
