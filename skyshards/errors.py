"""The errors that skyshards raises, all derived from `SkyshardsError`."""


class SkyshardsError(Exception):
    """Base class; messages say what was expected, what was found, where, and what to do."""


class UsageError(SkyshardsError, ValueError):
    """Options are invalid or cannot be combined (the command line exits with 2)."""


class BuildError(SkyshardsError):
    """A build cannot continue: the archive's listing is unavailable, the disk is full, another run holds the folder."""


class SourceError(SkyshardsError):
    """A source cannot be converted to rows. The build records the reason and continues with the others."""


class FetchError(SourceError):
    """A source could not be downloaded: an HTTP status, a short body, a wrong checksum, a timeout."""


class BrokenAnswer(FetchError):
    """A response is incomplete or not the requested file; a retry may help."""


class FolderError(SkyshardsError, FileNotFoundError):
    """A folder is not a built dataset, or lacks a file listed in its catalogue."""


class NewerFormat(FolderError):
    """A folder was written by a later version of skyshards, in a format unknown to this one."""


class ShardCorrupted(SkyshardsError):
    """The bytes of a shard do not match the catalogue."""
