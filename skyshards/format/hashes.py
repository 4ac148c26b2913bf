"""Write and check `SHA256SUMS`: the sha256 of every file of a built dataset, in the format of `sha256sum -c`.

It omits `tries.csv`, which depends on how the runs went.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from skyshards.files import file_digest
from skyshards.format.layout import HASHED, HASHES
from skyshards.format.manifest import Shard

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write(folder: Path, shards: Iterable[Shard]) -> None:
    """Write the list from the other files in `folder`, so after all of them, and the shards' recorded digests."""
    found = {name: file_digest(folder / name) for name in HASHED if (folder / name).exists()}
    found |= {shard.path: shard.sha256 for shard in shards}
    (folder / HASHES).write_text("".join(f"{found[name]}  {name}\n" for name in sorted(found)), encoding="utf-8")


def problems(folder: Path, shards: Iterable[Shard]) -> Iterator[str]:
    """Yield differences from the list, one line each. Shards are not hashed, only compared with their records."""
    if not (folder / HASHES).is_file():
        return  # built before this file existed
    lines = (folder / HASHES).read_text(encoding="utf-8", errors="replace").splitlines()
    listed = {match[2]: match[1] for line in lines if (match := _LINE.fullmatch(line))}
    for name in sorted(HASHED):
        path = folder / name
        if name in listed and not path.is_file():
            yield f"{name}: missing"
        elif path.is_file() and name not in listed:
            yield f"{name}: is not listed in {HASHES}"
        elif name in listed and file_digest(path) != listed[name]:
            yield f"{name}: its sha256 differs from {HASHES}"
    expected = {shard.path: shard.sha256 for shard in shards}
    if {name: sha256 for name, sha256 in listed.items() if name not in HASHED} != expected or len(lines) != len(listed):
        yield f"{HASHES}: does not list exactly the existing files"
