"""`candels-blender` in three steps: its files, that they agree with the shards, and what happens if a step fails."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from candels_blend import Blends
from candels_blend import npy_files as files
from candels_blend.cli import main
from candels_blend.targets import MASKS
from skyshards.errors import BuildError

OUTPUT = "output-s_7-n_25"


def run(*arguments, expect=0):
    outcome = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert outcome.exit_code == expect, outcome.output + repr(outcome.exception)
    return outcome.output


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def produced(here, datapath):
    run("produce", "-n", 25, "-s", 7, "-d", datapath, "--workers", 1)
    return here / OUTPUT


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".log")}


def test_produce_writes_single_files_and_catalogues(produced):
    expected = {f"{split}_catalogue.csv" for split in ("train", "test")} | {"candels-blender.log"}
    expected |= {f"train_blend_{i:06d}.npy" for i in range(20)} | {f"train_blend_seg_{i:06d}.npy" for i in range(20)}
    expected |= {f"test_blend_{i:06d}.npy" for i in range(5)} | {f"test_blend_seg_{i:06d}.npy" for i in range(5)}
    assert {path.name for path in produced.iterdir()} == expected
    image, masks = (np.load(produced / f"train_blend_{name}000000.npy") for name in ("", "seg_"))
    assert (image.dtype, image.shape) == (np.float32, (128, 128, 2))
    assert (masks.dtype, masks.shape) == (np.uint8, (2, 128, 128)) and set(np.unique(masks)) == {0, 1}


@pytest.mark.parametrize(("split", "count"), [("train", 20), ("test", 5)])
def test_single_files_are_the_blends_made_on_the_fly(produced, datapath, split, count):
    blends = Blends(datapath, seed=7, split=split, n_blends=25, method="single_images")
    catalogue = pd.read_csv(produced / f"{split}_catalogue.csv")
    assert len(blends) == len(catalogue) == count
    for i, blend in enumerate(blends):
        image, masks = (np.load(produced / f"{split}_blend_{name}{i:06d}.npy") for name in ("", "seg_"))
        assert (np.moveaxis(image, -1, 0) == blend["galaxies"]).all() and (masks == blend["masks"]).all()
        assert catalogue.loc[i, ["shift_x", "shift_y"]].tolist() == blend["shift"].tolist()  # as their users have them
        assert catalogue.loc[i, ["g1_id", "g2_id"]].tolist() == blend["galaxy_id"].tolist()


def test_log_has_the_configuration_and_each_rejected_pair(here, datapath):
    run("produce", "-n", 60, "-s", 7, "-d", datapath, "--rad_diff", 1.2, "--excluded_type", "irr", "-e", "sph")
    log = (here / "output-s_7-n_60" / "candels-blender.log").read_text()
    assert "n_blends=60" in log and "rad_diff=1.2" in log and "excluded_types=('irr', 'sph')" in log
    from candels_blend.draw import draw_sample
    from candels_blend.sample import Sample
    from candels_blend.stamp_archive import read_archive

    rejected, archive = [], read_archive(datapath)
    draw_sample(
        archive, Sample(7, rad_diff=1.2, excluded_types=("irr", "sph")), 60, lambda *rows: rejected.append(rows)
    )
    lines = [line for line in log.splitlines() if "rejected" in line]
    assert len(lines) == len(rejected) > 0
    assert lines[0].endswith("galaxies {} and {}".format(*archive.catalogue["ID"].iloc[list(rejected[0])]))


def test_left_out_stamps_are_named(here, datapath, tmp_path):
    import shutil

    folder = shutil.copytree(datapath, tmp_path / "spoilt")
    images = np.load(folder / "candels_img.npy")
    images[4] = np.nan
    np.save(folder / "candels_img.npy", images)
    message = "1 of 40 stamps left out (pixels that are NaN or infinite)"
    assert message in run("produce", "-n", 5, "-s", 7, "-d", folder)
    assert message in (here / "output-s_7-n_5" / "candels-blender.log").read_text()


def test_any_number_of_workers_gives_the_same_files(produced, here, datapath):
    expected = content(produced)
    produced.rename(here / "one")
    run("produce", "-n", 25, "-s", 7, "-d", datapath, "--workers", 2)
    assert content(produced) == expected


@pytest.mark.parametrize("method", ["gg_masks", "ogg_masks", "bogg_masks", "single_images"])
def test_concatenate(produced, method):
    images = np.stack([np.load(produced / f"train_blend_{i:06d}.npy") for i in range(20)])
    masks = np.stack([np.load(produced / f"train_blend_seg_{i:06d}.npy") for i in range(20)])
    run("concatenate", "-d", produced, "-m", method)
    stacks = {name: np.load(produced / f"train_{name}.npy") for name in ("blends", method)}
    assert stacks["blends"].dtype == np.float32 and (stacks["blends"] == images.sum(axis=-1)).all()
    expected = {"gg_masks": masks, "single_images": images}.get(method)
    expected = MASKS[method](masks) if expected is None else expected
    assert stacks[method].dtype == expected.dtype and (stacks[method] == expected).all()
    assert np.load(produced / "test_blends.npy").shape == (5, 128, 128)
    assert len(list(produced.glob("*_blend_*"))) == 50


def test_stack_of_blends_is_what_the_shards_hold(produced, datapath):
    run("concatenate", "-d", produced, "-m", "ogg_masks")
    for split in ("train", "test"):
        batch = Blends(datapath, seed=7, split=split, n_blends=25, method="ogg_masks")[:]
        assert (np.load(produced / f"{split}_blends.npy") == batch["image"]).all()
        assert (np.load(produced / f"{split}_ogg_masks.npy") == batch["ogg_masks"]).all()


def test_delete_removes_the_single_files_alone(produced):
    run("concatenate", "-d", produced, "-m", "ogg_masks", "--delete")
    names = {
        f"{split}_{what}" for split in ("train", "test") for what in ("blends.npy", "ogg_masks.npy", "catalogue.csv")
    }
    assert {path.name for path in produced.iterdir()} == names | {"candels-blender.log"}
    run("concatenate", "-d", produced, "-m", "ogg_masks", "--delete")
    assert "not found; were the single files deleted?" in run("concatenate", "-d", produced, "-m", "gg_masks", expect=1)


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-7])])
def test_nothing_is_deleted_or_left_half_written_if_a_single_file_is_bad(produced, spoil):
    spoil(produced / "test_blend_seg_000003.npy")
    before = content(produced)
    output = run("concatenate", "-d", produced, "-m", "ogg_masks", "--delete", expect=1)
    assert "test_blend_seg_000003.npy: not" in output
    after = content(produced)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"train_blends.npy", "train_ogg_masks.npy", "test_blends.npy"}


def longer(array):
    return np.concatenate([array, array[:1]])


@pytest.mark.parametrize("name", ["train_blends.npy", "test_ogg_masks.npy"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: np.save(path, np.load(path)[:-1]),
        lambda path: np.save(path, longer(np.load(path))),
        lambda path: np.save(path, np.load(path)[:, :64]),
        lambda path: np.save(path, np.load(path).view(f"V{np.load(path).itemsize}")),
    ],
)
def test_stack_that_is_not_whole_is_made_again_before_single_files_are_deleted(produced, name, spoil):
    run("concatenate", "-d", produced, "-m", "ogg_masks")
    expected = content(produced)
    spoil(produced / name)
    run("concatenate", "-d", produced, "-m", "ogg_masks", "--delete")
    assert content(produced) == {path: what for path, what in expected.items() if "_blend_" not in path}


def test_nothing_is_deleted_if_a_stack_is_not_whole_and_cannot_be_made_again(produced):
    run("concatenate", "-d", produced, "-m", "ogg_masks")
    (produced / "train_blends.npy").write_bytes((produced / "train_blends.npy").read_bytes()[:1000])
    (produced / "train_blend_000003.npy").unlink()
    before = content(produced)
    output = run("concatenate", "-d", produced, "-m", "ogg_masks", "--delete", expect=1)
    assert "train_blend_000003.npy: not found" in output
    assert content(produced) == before


def test_stack_that_is_whole_is_kept(produced):
    run("concatenate", "-d", produced, "-m", "ogg_masks")
    before = {path: path.stat().st_mtime_ns for path in produced.glob("*_*s.npy")}
    assert len(before) == 4
    run("concatenate", "-d", produced, "-m", "ogg_masks")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_single_file_of_another_form(produced):
    np.save(produced / "train_blend_000002.npy", np.zeros((128, 128), np.float32))
    output = run("concatenate", "-d", produced, "-m", "gg_masks", expect=1)
    assert "train_blend_000002.npy: expected float32 (128, 128, 2), found float32 (128, 128)" in output


def test_single_files_of_another_order_are_read(produced):
    path = produced / "train_blend_000002.npy"
    expected = np.load(path)
    np.save(path, np.asfortranarray(expected))
    run("concatenate", "-d", produced, "-m", "gg_masks")
    assert (np.load(produced / "train_blends.npy")[2] == expected.sum(axis=-1)).all()


def test_convert(produced):
    run("convert", "-d", produced, "--zeropoint=25.5")
    for split, count in (("train", 20), ("test", 5)):
        catalogue = pd.read_csv(produced / f"{split}_catalogue.csv")
        flux = np.load(produced / f"{split}_flux.npy")
        assert flux.shape == (count, 2)
        np.testing.assert_allclose(flux[:, 1], 10 ** (-0.4 * (catalogue["g2_mag"] - 25.5)))
    run("convert", "-d", produced)
    np.testing.assert_allclose(np.load(produced / "test_flux.npy")[:, 0], 10 ** (-0.4 * (catalogue["g1_mag"] - 25.96)))


@pytest.mark.parametrize("masked", [True, False])
def test_three_galaxies(here, datapath, masked):
    flags = ["--n_galaxies", 3, "--cut", "radius > 4", *([] if masked else ["--unmasked"])]
    run("produce", "-n", 8, "-s", 7, "-d", datapath, *flags, "--workers", 1)
    folder, options = here / "output-s_7-n_8", {"n_blends": 8, "n_galaxies": 3, "cut": "radius > 4", "masked": masked}
    for method in ("single_images", "gg_masks", "ogg_masks", "bogg_masks"):
        run("concatenate", "-d", folder, "-m", method)
    run("convert", "-d", folder)
    for split, count in (("train", 7), ("test", 1)):
        rows = Blends(datapath, seed=7, split=split, method="single_images", **options)[:]
        stacks = {name: np.load(folder / f"{split}_{name}.npy") for name in ("blends", "single_images", *MASKS, "flux")}
        assert stacks["single_images"].shape == (count, 128, 128, 3) and stacks["flux"].shape == (count, 3)
        assert (stacks["blends"] == rows["image"]).all()
        assert (np.moveaxis(stacks["single_images"], -1, 1) == rows["galaxies"]).all()
        assert (stacks["flux"] == rows["flux"]).all()
        for name, make in MASKS.items():
            assert (stacks[name] == make(rows["masks"])).all()
        catalogue = pd.read_csv(folder / f"{split}_catalogue.csv")
        assert (catalogue[["g1_id", "g2_id", "g3_id"]] == rows["galaxy_id"]).all(axis=None)
        assert (catalogue[["shift_x", "shift_y", "g3_shift_x", "g3_shift_y"]] == rows["shift"]).all(axis=None)
        np.testing.assert_allclose(catalogue[["distance", "g3_distance"]], rows["distance"], atol=1e-6)


def test_cut_that_is_none(here, datapath):
    output = run("produce", "-d", datapath, "--cut", "depth > 1", expect=2)
    assert "cut: no column 'depth'; available: ID, RA" in output and list(here.iterdir()) == []


def test_cut_that_leaves_too_little(here, datapath):
    output = run("produce", "-d", datapath, "--cut", "z > 100", expect=1)
    assert "--cut z > 100 leaves 0 of 40 galaxies, expected at least two; loosen this cut" in output
    output = run("produce", "-d", datapath, "--cut", "mag < 20", "--mag-diff", 0.001, expect=1)
    assert "by less than 0.001 mag; loosen --cut, raise --mag-diff, widen" in output


@pytest.mark.parametrize("command", [("concatenate", "-m", "gg_masks"), ("convert",)])
def test_folder_that_produce_did_not_write(here, command):
    assert "expected a catalogue that `candels-blender produce` wrote" in run(*command, "-d", here, expect=1)


def test_a_sample_that_is_there_is_not_written_over(produced, datapath):
    before = content(produced)
    assert "is there already" in run("produce", "-n", 25, "-s", 7, "--mag_diff", 1, "-d", datapath, expect=2)
    assert content(produced) == before


def test_no_test_split(here, datapath):
    run("produce", "-n", 4, "-s", 7, "-t", 0, "-d", datapath)
    run("concatenate", "-d", "output-s_7-n_4", "-m", "bogg_masks", "--delete")
    run("convert", "-d", "output-s_7-n_4")
    assert np.load("output-s_7-n_4/test_bogg_masks.npy").shape == (0, 128, 128, 4)
    assert np.load("output-s_7-n_4/test_flux.npy").shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mag_high", 5), "leaves 0 of 40 galaxies"),
        (("--mag_diff", 0), "no two of the 32 train galaxies"),
        (("--datapath", "nowhere"), "fetch the archive with `candels-blender download -o nowhere`"),
    ],
)
def test_nothing_is_left_of_a_sample_that_cannot_be_drawn(here, datapath, options, message):
    assert message in run("produce", "-d", datapath, *options, expect=1)
    assert not list(here.glob("output*"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_leaves_nothing_half_written(here, datapath, workers):
    """Files may not grow beyond 100 kB: writing fails in the system call itself, in the processes, too."""
    program = """
import resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if __name__ == "__main__":
    from candels_blend.cli import main

    main()
"""
    (here / "limited.py").write_text(program)
    command = [
        sys.executable,
        str(here / "limited.py"),
        "produce",
        "-n",
        "25",
        "-d",
        str(datapath),
        "--workers",
        str(workers),
    ]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment())
    assert outcome.returncode == 1 and "Error: output-s_42-n_25: " in outcome.stderr, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert [path.name for path in here.iterdir()] == ["limited.py"]


def test_full_disk_is_named_and_no_stack_is_left(produced, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("candels_blend.npy_files.os.fsync", full)
    before = content(produced)
    output = run("concatenate", "-d", produced, "-m", "gg_masks", "--delete", expect=1)
    assert "the disk is full; free some space and run the same command again" in output
    assert content(produced) == before


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.mark.slow
def test_killed_run_leaves_no_sample_and_the_next_one_starts_afresh(here, datapath):
    program = "from candels_blend.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        program,
        "produce",
        "-n",
        "100000",
        "-s",
        "7",
        "-d",
        str(datapath),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        unfinished = here / "output-s_7-n_100000.partial"
        deadline = time.monotonic() + 60
        while not list(unfinished.glob("train_blend_00000*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(unfinished.glob("train_blend_00000*"))
        with (
            pytest.raises(BuildError, match="another run is writing it"),
            files.new_folder(here / "output-s_7-n_100000"),
        ):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (here / "output-s_7-n_100000").exists()
    with files.new_folder(here / "output-s_7-n_100000") as folder:
        assert not list(folder.iterdir())
    assert [path.name for path in here.iterdir()] == ["output-s_7-n_100000"]


@pytest.mark.parametrize("option", ["--mag_low", "--mag_high", "--mag_diff", "--rad_diff", "--test_ratio"])
def test_option_that_is_no_number_is_named(here, datapath, option):
    assert option.removeprefix("--") in run("produce", "-d", datapath, f"{option}=nan", expect=2)
    assert not list(here.iterdir())


def test_help_says_what_a_clean_galaxy_is():
    text = " ".join(run("produce", "--help").split())
    assert "another source" in text and "first or last row or column" in text and "central source" in text


@pytest.mark.parametrize("spelling", ["--exclude", "--excluded_type", "-e"])
def test_spellings_of_excluded_types(here, datapath, spelling):
    run("produce", "-n", 30, "-s", 7, "-d", datapath, spelling, "sph", "--test_ratio", "0.3", "--use_clean_galaxies")
    catalogue = pd.read_csv(here / "output-s_7-n_30" / "train_catalogue.csv")
    assert len(catalogue) == 21 and not catalogue[["g1_type", "g2_type"]].isin(["sph"]).any(axis=None)
