"""Write and check `SHA256SUMS`: the sha256 of every file of a built dataset, in the format of `sha256sum -c`.

It omits `tries.csv`, which depends on how the runs went.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from skyshards.files import file_digest
from skyshards.format.layout import HASHED, HASHES, scalars_path

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write(folder: Path, recorded: Mapping[str, str]) -> None:
    """Write the list from the other files in `folder`, so after all of them, and the recorded digests of shards."""
    found = {name: file_digest(folder / name) for name in _hashed(folder)} | dict(recorded)
    (folder / HASHES).write_text("".join(f"{found[name]}  {name}\n" for name in sorted(found)), encoding="utf-8")


def _hashed(folder: Path) -> list[str]:
    """Return the files of a folder whose digests are recorded nowhere else."""
    scalars = (path.relative_to(folder).as_posix() for path in folder.glob(scalars_path("*")))
    return [*(name for name in sorted(HASHED) if (folder / name).is_file()), *sorted(scalars)]


def problems(folder: Path, recorded: Mapping[str, str]) -> Iterator[str]:
    """Yield differences from the list, one line each. Shards are not hashed, only compared with `recorded`."""
    if not (folder / HASHES).is_file():
        return  # built before this file existed
    lines = (folder / HASHES).read_text(encoding="utf-8", errors="replace").splitlines()
    listed = {match[2]: match[1] for line in lines if (match := _LINE.fullmatch(line))}
    there = _hashed(folder)
    expected = {*HASHED, *there, *(name for name in listed if Path(name).match(scalars_path("*")))}
    for name in sorted(expected):
        if name in listed and name not in there:
            yield f"{name}: missing"
        elif name in there and name not in listed:
            yield f"{name}: is not listed in {HASHES}"
        elif name in listed and file_digest(folder / name) != listed[name]:
            yield f"{name}: its sha256 differs from {HASHES}"
    others = {name: sha256 for name, sha256 in listed.items() if name not in expected}
    if others != dict(recorded) or len(lines) != len(listed):
        yield f"{HASHES}: does not list exactly the existing files"
