"""Rows of large files, for `Recipe.read_rows`: members of zip archives, read safely, and rows of Parquet files."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from os import PathLike
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from skyshards.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 64 << 20
"""Maximum size of a member, bytes. A 424 x 424 PNG of 8-bit RGB takes 0.5 MB at most, a hundredth of this."""
MAX_RATIO = 200
"""Maximum compression ratio. PNGs hardly deflate; zip bombs reach a thousand to one."""

_EMPTY = b"PK\5\6" + bytes(18)
"""An archive without members."""


def refusal(member: zipfile.ZipInfo) -> str | None:
    """Reason to refuse a member of an archive, or None."""
    path = PurePosixPath(member.filename)
    mode = member.external_attr >> 16
    if path.is_absolute() or ".." in path.parts or set(member.filename) & set("\\:\0"):
        return f"member {member.filename!r} would leave the archive's folder"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return f"member {member.filename!r} is no regular file (mode {mode:o}), such as a link"
    if member.flag_bits & 1:
        return f"member {member.filename!r} is encrypted"
    if member.file_size > MAX_BYTES:
        return f"member {member.filename!r} is {member.file_size} bytes long, expected at most {MAX_BYTES}"
    if member.file_size > MAX_RATIO * max(member.compress_size, 1):
        growth = f"{member.compress_size} bytes to {member.file_size}"
        return f"member {member.filename!r} would inflate {growth}, expected {MAX_RATIO} times as many at most"
    return None


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Read a member of a zip archive and check its length and CRC-32.

    Raises
    ------
    SourceError
        The member is damaged, or refused: a path that leaves the archive, a link, an encrypted member, one of more than
        64 MiB, or one that would inflate more than 200 times.
    """
    if reason := refusal(member):
        raise SourceError(f"{reason}; it was not read")
    try:
        with archive.open(member) as file:
            content = file.read(member.file_size + 1)
            file.read(1)  # the CRC is checked at the end
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"member {member.filename!r} is damaged ({error})") from error
    if len(content) != member.file_size:
        raise SourceError(f"member {member.filename!r} is {len(content)} bytes long, expected {member.file_size}")
    return content


def read_member_of(path: PathLike, member: zipfile.ZipInfo) -> bytes:
    """Read a member of a zip archive on disk, as `read_member`, without the archive's directory.

    Of 25,000 members, the directory takes 0.2 s.
    """
    with open(path, "rb") as file, zipfile.ZipFile(io.BytesIO(_EMPTY)) as archive:
        archive.fp = file
        return read_member(archive, member)


def parquet_rows(path: str | PathLike, rows: range, columns: list[str] | None = None) -> pa.Table:
    """Read some rows of a Parquet file, decoding only the row groups that have them.

    Parameters
    ----------
    path : path
    rows : range
        Numbers of consecutive rows.
    columns : list of str, optional

    Returns
    -------
    pyarrow.Table
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        parts, first = [file.schema_arrow.empty_table().select(columns or file.schema_arrow.names)], 0
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            start, stop = max(rows.start, first), min(rows.stop, end)
            if start < stop:
                parts.append(file.read_row_group(group, columns).slice(start - first, stop - start))
            first = end
    return pa.concat_tables(parts)
