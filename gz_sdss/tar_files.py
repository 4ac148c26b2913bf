"""Write TAR archives of images, and locate their members."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skyshards.files import replacing


def save_images_to_TAR(TAR_path: Path | str, contents: Mapping[str, bytes] | Iterable[Sequence]) -> None:
    """Write a TAR archive of images atomically, replacing an existing one.

    Parameters
    ----------
    TAR_path : path
        Path of the archive.
    contents : mapping of str to bytes, or sequences that begin with these two
        Names of the members, such as "1237648720693755918.jpg", and their contents.

    Raises
    ------
    OSError
        It cannot be written; an existing archive is unchanged.
    """
    pairs: Iterable[Sequence[Any]] = contents.items() if isinstance(contents, Mapping) else contents
    with replacing(Path(TAR_path)) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in {name: content for name, content, *_ in pairs}.items():
            tar.addfile(_member(name, len(content)), io.BytesIO(content))


def as_member(objid: int, suffix: str, content: bytes) -> bytes:
    """Encode an image as a member of a TAR archive: header, content, padding."""
    header = _member(f"{objid}{suffix}", len(content)).tobuf(tarfile.USTAR_FORMAT)
    return header + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """Header with only name and size, so that the same images make the same archive."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def members_of(path: Path, suffix: str) -> dict[int, tuple[int, int]]:
    """First byte and length of each complete member with a suffix, by objid; a torn last one is left out."""
    members = {}
    size = path.stat().st_size
    with contextlib.suppress(tarfile.TarError), tarfile.open(path, "r:") as tar:
        for member in tar:
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            if end > size:
                break
            if (stem := member.name.removesuffix(suffix)).isdecimal() and member.name.endswith(suffix):
                members[int(stem)] = member.offset_data, member.size
    return members


def end_of(members: dict[int, tuple[int, int]]) -> int:
    """End of the last member, including its padding."""
    start, size = max(members.values(), default=(0, 0))
    return start + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def write_whole(file: int, content: bytes, start: int) -> None:
    """Write all of the content, or leave the file at its old length."""
    left = memoryview(content)
    try:
        while left:
            written = os.pwrite(file, left, start + len(content) - len(left))
            left = left[written:]
    except OSError:
        os.ftruncate(file, start)
        raise
