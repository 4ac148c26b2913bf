"""TAR archives of images: their members as bytes, and where they lie."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from skyshards.files import replacing


def save_images_to_TAR(TAR_path: Path | str, contents: Mapping[str, bytes] | Iterable[Sequence]) -> None:
    """Write a TAR archive of images; it appears under its name when it is whole, in place of one that was there.

    Parameters
    ----------
    TAR_path : path
    contents : mapping of str to bytes, or sequences that begin with these two
        The members' names, such as "1237648720693755918.jpg", and what they hold.

    Raises
    ------
    OSError
        It cannot be written; what was there before is as it was.
    """
    pairs = contents.items() if isinstance(contents, Mapping) else contents
    with replacing(Path(TAR_path)) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in {name: content for name, content, *_ in pairs}.items():
            tar.addfile(_member(name, len(content)), io.BytesIO(content))


def as_member(objid: int, suffix: str, content: bytes) -> bytes:
    """An image as a member of a TAR archive: header, content, padding."""
    header = _member(f"{objid}{suffix}", len(content)).tobuf(tarfile.USTAR_FORMAT)
    return header + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A header that says nothing but name and size, so that the same images make the same archive."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def members_of(path: Path) -> dict[int, tuple[int, int]]:
    """First byte and length of each whole member of an archive, by objid; a torn last one is left out."""
    members = {}
    size = path.stat().st_size
    with contextlib.suppress(tarfile.TarError), tarfile.open(path, "r:") as tar:
        for member in tar:
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            if end > size:
                break
            if (stem := Path(member.name).stem).isdecimal():
                members[int(stem)] = member.offset_data, member.size
    return members


def end_of(members: dict[int, tuple[int, int]]) -> int:
    """Where the last member ends, its padding included."""
    start, size = max(members.values(), default=(0, 0))
    return start + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def write_whole(file: int, content: bytes, start: int) -> None:
    """Write all of it, or leave the file as long as it was."""
    left = memoryview(content)
    try:
        while left:
            written = os.pwrite(file, left, start + len(content) - len(left))
            left = left[written:]
    except OSError:
        os.ftruncate(file, start)
        raise
