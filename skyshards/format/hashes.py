"""`SHA256SUMS`: the sha256 of every file of a built dataset, as `sha256sum -c` reads it.

Not in it is `tries.csv`, which tells how the runs went and not what they made.
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
    """Write the list from the files in `folder`, the last one to be written, and the shards, wherever they are."""
    found = {name: file_digest(folder / name) for name in HASHED if (folder / name).exists()}
    found |= {shard.path: shard.sha256 for shard in shards}
    (folder / HASHES).write_text("".join(f"{found[name]}  {name}\n" for name in sorted(found)), encoding="utf-8")


def problems(folder: Path, shards: Iterable[Shard]) -> Iterator[str]:
    """What differs from the list, a line each. Shards themselves are not looked at, only what the list says of them."""
    if not (folder / HASHES).is_file():
        return  # built before there was one
    lines = (folder / HASHES).read_text(encoding="utf-8", errors="replace").splitlines()
    listed = {match[2]: match[1] for line in lines if (match := _LINE.fullmatch(line))}
    for name in sorted(HASHED):
        path = folder / name
        if name in listed and not path.is_file():
            yield f"{name}: missing"
        elif path.is_file() and name not in listed:
            yield f"{name}: is not listed in {HASHES}"
        elif name in listed and file_digest(path) != listed[name]:
            yield f"{name}: its sha256 is not the one that {HASHES} lists"
    expected = {shard.path: shard.sha256 for shard in shards}
    if {name: sha256 for name, sha256 in listed.items() if name not in HASHED} != expected or len(lines) != len(listed):
        yield f"{HASHES}: does not list just the files that there are"
