"""Every error that skyshards raises on purpose: one small tree under `SkyshardsError`, with Python's own beside it."""


class SkyshardsError(Exception):
    """Base of all the errors below; its message says what was expected, what was found, where, and what to do."""


class UsageError(SkyshardsError, ValueError):
    """Options that cannot be used together or make no sense (the command line exits with 2)."""


class BuildError(SkyshardsError):
    """A build cannot go on: the archive's listing is out of reach, the disk is full, another run holds the folder."""


class SourceError(SkyshardsError):
    """One source cannot become rows. The build records the reason and goes on with the others."""


class FetchError(SourceError):
    """One source could not be fetched whole: an HTTP status, a short body, a wrong checksum, a time-out."""


class BrokenAnswer(FetchError):
    """What a server sent is not whole, or not what was asked for; another try may mend that."""


class FolderError(SkyshardsError, FileNotFoundError):
    """A folder is not a built dataset, or lacks a file that its catalogue names."""


class NewerFormat(FolderError):
    """A folder was written by a later version of skyshards, in a format that this one does not know."""


class ShardCorrupted(SkyshardsError):
    """Bytes of a shard are not what the catalogue says they are."""
