"""Files that appear whole or not at all."""

import errno
import os
import stat
import threading

import pytest

from skyshards.errors import BuildError
from skyshards.files import TEMPORARY_PREFIX, clear_errors, hold, is_disk_full, replacing


def test_a_block_that_ends_well_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in ("first", "second"):
        with replacing(path) as temporary:
            assert temporary.parent == path.parent and temporary.suffix == ".txt"
            assert temporary.name.startswith(TEMPORARY_PREFIX)
            temporary.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_raises_leaves_all_as_it_was(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("first")
    with pytest.raises(RuntimeError, match="on purpose"), replacing(path) as temporary:
        temporary.write_text("second")
        raise RuntimeError("on purpose")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_that_the_umask_leaves(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_text("")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_no_thread_changes_the_umask_of_the_others(tmp_path, monkeypatch):
    """A process has just one: files that other threads make meanwhile would be for all to write to."""

    def refuse(mask):
        raise AssertionError(f"umask({mask:#o}) in {threading.current_thread().name}")

    monkeypatch.setattr(os, "umask", refuse)
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "any words"),
        OSError(errno.EDQUOT, "any words"),
        OSError("Can't write data (error message = 'No space left on device')"),
        RuntimeError("database or disk is full"),
    ],
)
def test_a_full_disk_is_known_by_number_or_words(error):
    assert is_disk_full(error)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ValueError("full"), KeyError(28)])
def test_other_errors_are_no_full_disk(error):
    assert not is_disk_full(error)


def test_what_killed_runs_left_is_deleted_once_a_folder_is_held(tmp_path):
    folder = tmp_path / "ours"
    (folder / f"{TEMPORARY_PREFIX}abc").mkdir(parents=True)
    (folder / f"{TEMPORARY_PREFIX}abc" / "stamps.npy").touch()
    (folder / f"{TEMPORARY_PREFIX}def.parquet").touch()
    (folder / "kept").touch()
    with hold(folder):
        assert {path.name for path in folder.iterdir()} == {"kept", "lock"}


def test_a_held_folder_is_not_touched(tmp_path):
    with hold(tmp_path / "ours"):
        (tmp_path / "ours" / f"{TEMPORARY_PREFIX}abc").touch()
        with pytest.raises(BuildError, match="busy"), hold(tmp_path / "ours", "busy"):
            raise AssertionError("never")
        assert (tmp_path / "ours" / f"{TEMPORARY_PREFIX}abc").exists()


def test_an_empty_folder_goes_with_its_lock(tmp_path):
    with hold(tmp_path / "ours"):
        pass
    with hold(tmp_path / "ours", lock=tmp_path / "ours.lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_disk_say_what_to_do(tmp_path):
    message = "ours: the disk is full; free some space and run the same command again"
    with pytest.raises(BuildError, match=message), clear_errors(tmp_path / "ours"):
        raise OSError(errno.ENOSPC, "No space left on device")
