"""Measure the rate and memory of making blends: on the fly, as files, as shards, and on a GPU.

    python benchmarks/candels_blend.py [--datapath data] [--n_blends 20000] [--many 200000] [--workers 2]

Without `--datapath`, the galaxies are simulated. candels-blender (package `blender`) is also timed if installed.
Output goes to a temporary folder (in `--folder`). Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is first on the path: this file hides the package there
    sys.path[:1] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import numpy as np
from harness import in_fresh_process, machine, print_table, versions

from candels_blend import Blends
from candels_blend.download import unpack
from candels_blend.render import noise_generator
from candels_blend.stamp_archive import read_archive
from demo_archive.holdings import candels as stamps

PIXELS = 128 * 128
BATCH, DRAWN = 1024, 16 * 1024
"""Blends of a batch on a GPU, and of the batches that are rendered again."""
GALAXIES = 2001
"""Number of galaxies, as in the real archive."""
NUMBERS = (2, 3, 4, 5)
"""Numbers of galaxies in a blend."""
FEW = 256
"""Number of blends that are rendered before the next measure's turn."""
SETS = {
    "image": ("ogg_masks", ("image",)),
    "image, masks": ("ogg_masks", ("image", "masks")),
    "image, ogg_masks": ("ogg_masks", ("image", "ogg_masks")),
    "all columns": ("ogg_masks", None),
    "image, masks, galaxies": ("single_images", ("image", "masks", "galaxies")),
}


def simulate(folder: Path) -> Path:
    """Make an archive of 60 simulated galaxies, repeated."""
    (folder / "archive.tar.gz").write_bytes(stamps.archive(60, 0))
    unpack(folder / "archive.tar.gz", folder / "some")
    some, times = read_archive(folder / "some"), -(-GALAXIES // 60)
    data = folder / "data"
    data.mkdir()
    np.save(data / "candels_img.npy", np.concatenate([some.images] * times)[:GALAXIES])
    np.save(data / "candels_seg.npy", np.concatenate([some.segmentation] * times)[:GALAXIES])
    catalogue = some.catalogue.iloc[np.arange(GALAXIES) % 60].reset_index(drop=True)
    catalogue["ID"] = np.arange(GALAXIES)
    catalogue.to_csv(data / "candels_cat.csv", index=False)
    return data


def rate(make: Callable[[int, int], object], batch: int, seconds: float = 3.0) -> float:
    """Blends per second of a function of a batch's first and last number; the best of three."""
    make(0, batch)
    best = 0.0
    for _ in range(3):
        done, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            make(done, done + batch)
            done += batch
        best = max(best, done / (time.perf_counter() - start))
    return best


def deviates(fields: int) -> Callable[[int, int], None]:
    out = np.empty(fields * PIXELS, np.float32)

    def make(start: int, stop: int) -> None:
        for number in range(start, stop):
            noise_generator(42, number).standard_normal(dtype=np.float32, out=out)

    return make


def on_the_fly(datapath: Path) -> None:
    limits = {fields: rate(deviates(fields), 64) for fields in (1, 2)}
    print("\n## On the fly: one core, batches of 64\n")
    print(f"The deviates alone: {limits[1]:,.0f} blends/s with one a pixel, {limits[2]:,.0f} with two.\n")
    print("| columns | blends/s | share of the deviates' own limit |\n|---|---|---|")
    for name, (method, columns) in SETS.items():
        blends = Blends(datapath, method=method)
        blends = blends.select_columns(columns or blends.column_names)
        found = rate(lambda start, stop, blends=blends: blends[start:stop], 64)
        print(f"| {name} | {found:,.0f} | {found / limits[2 if 'galaxies' in name else 1]:.0%} |")


def more_galaxies(datapath: Path) -> None:
    """Measure two to five galaxies, masked and as they are, in turn."""

    def maker(galaxies: int, masked: bool, name: str) -> Callable[[], object]:
        method, columns = SETS[name]
        blends = Blends(datapath, method=method, n_galaxies=galaxies, masked=masked).select_columns(columns)
        return lambda: [blends[start : start + 64] for start in range(0, FEW, 64)]

    print("\n## Two to five galaxies on the fly: blends per second of processor time, batches of 64\n")
    kinds = [(masked, name) for masked in (True, False) for name in ("image, masks", "image, masks, galaxies")]
    makers = {(n, *kind): maker(n, *kind) for kind in kinds for n in NUMBERS}
    best = dict.fromkeys(makers, float("inf"))
    for _ in range(5):
        for key, make in makers.items():
            start = time.process_time()
            make()
            best[key] = min(best[key], time.process_time() - start)
    rows = [(n, *(f"{FEW / best[n, *kind]:,.0f}" for kind in kinds)) for n in NUMBERS]
    print_table(("galaxies", *(f"{name}{'' if masked else '; unmasked'}" for masked, name in kinds)), rows)


def more_galaxies_on_disk(datapath: Path, folder: Path, count: int, workers: int) -> None:
    """Measure shards of two to five galaxies, and of stamps as they are."""
    print(f"\n## Shards of {count:,} blends of two to five galaxies: {workers} processes, starting them included\n")
    rows = []
    for flags in ((), *(("--n_galaxies", n) for n in NUMBERS[1:]), ("--unmasked",), ("--n_galaxies", 5, "--unmasked"),
                  ("--method", "single_images"), ("--n_galaxies", 5, "--method", "single_images")):  # fmt: skip
        found = in_fresh_process(run, build_command(datapath, folder, count, workers, *flags), folder)
        nbytes = sum(path.stat().st_size for path in (folder / "shards").rglob("*.hdf5"))
        rows.append(
            (
                " ".join(map(str, flags)) or "pairs",
                f"{found.value:.1f}",
                f"{count / found.value:,.0f}",
                f"{nbytes / count / 1e3:,.1f}",
                f"{found.pss / 2**20:,.0f}",
            )
        )
        shutil.rmtree(folder / "shards")
    print_table(("options", "seconds", "blends/s", "kB a blend", "peak memory of all processes, MiB"), rows)


def build_command(datapath: Path, folder: Path, count: int, workers: int, *flags: object) -> tuple:
    """Return the command that builds shards in the folder `shards`."""
    script = Path(sys.path[0]) / "build_parent_sample.py"
    options = ("-n", count, "-d", datapath, "--workers", workers, "-o", folder / "shards")
    return (script, "candels_blend", *options, *flags)


def run(command: tuple, folder: Path) -> float:
    """Run a command; returns its seconds."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder, env=os.environ | {"PYTHONPATH": sys.path[0]}, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


def on_disk(datapath: Path, folder: Path, n_blends: int, many: int, workers: int) -> None:
    cli = ("-c", "from candels_blend.cli import main; main()")
    sample = f"output-s_42-n_{n_blends}"

    steps = [
        ("produce", n_blends, (*cli, "produce", "-n", n_blends, "-d", datapath, "--workers", workers)),
        ("concatenate", n_blends, (*cli, "concatenate", "-d", sample, "-m", "ogg_masks", "--delete")),
        ("shards (image, masks)", n_blends, build_command(datapath, folder, n_blends, workers)),
        ("shards (image, masks)", many, build_command(datapath, folder, many, workers)),
    ]
    nbytes = sum(path.stat().st_size for path in datapath.glob("*.npy")) / 2**20
    print(f"\n## On disk: {workers} processes, starting them included; {nbytes:,.0f} MiB of stamps\n")
    rows, seconds = [], {}
    for name, count, command in steps:
        found = in_fresh_process(run, command, folder)
        seconds.setdefault(name, found.value)
        rows.append(
            (name, f"{count:,}", f"{found.value:.1f}", f"{count / found.value:,.0f}", f"{found.pss / 2**20:,.0f}")
        )
        shutil.rmtree(folder / "shards", ignore_errors=True)
    both = seconds["produce"] + seconds["concatenate"]
    rows.insert(2, ("produce, then concatenate", f"{n_blends:,}", f"{both:.1f}", f"{n_blends / both:,.0f}", ""))
    print_table(("step", "blends", "seconds", "blends/s", "peak memory of all processes, MiB"), rows)


def candels_blender(datapath: Path, folder: Path) -> None:
    """Measure the original, if installed: single files, and stacks of them."""
    try:
        from blender import Blender
    except ImportError:
        print("\ncandels-blender is not installed: not timed.")
        return
    paths = [str(datapath / name) for name in ("candels_img.npy", "candels_seg.npy", "candels_cat.csv")]
    original, count, start = Blender(*paths, seed=42), 1000, time.perf_counter()
    for number in range(count):
        while (blend := original.next_blend()) is None:
            pass
        np.save(folder / f"peer_{number}.npy", blend.img)
        np.save(folder / f"peer_seg_{number}.npy", blend.segmap)
    single = time.perf_counter() - start
    images = np.stack([np.load(folder / f"peer_{number}.npy").sum(axis=-1) for number in range(count)])
    masks = np.stack([np.load(folder / f"peer_seg_{number}.npy") for number in range(count)])
    np.save(folder / "peer_images.npy", images)
    np.save(folder / "peer_masks.npy", masks)
    stacks = time.perf_counter() - start
    print(f"\ncandels-blender: {count / single:,.0f} blends/s as single files, {count / stacks:,.0f} with stacks.")


def memory_bandwidth(torch, synchronised) -> float:
    """Bytes read and written per second by a plain copy."""
    one, other = torch.empty((2, 1 << 28), dtype=torch.float32, device="cuda")
    return rate(synchronised(lambda start, stop: other.copy_(one)), 1, 1.0) * 2 * one.nbytes


def on_gpu(datapath: Path) -> None:
    print(f"\n## On a GPU: batches of {BATCH:,}\n")
    try:
        import torch
    except ImportError:
        print("Skipped: PyTorch is not installed.")
        return
    if not torch.cuda.is_available():
        print("Skipped: PyTorch finds no GPU here.")
        return

    def synchronised(make: Callable[[int, int], object]) -> Callable[[int, int], None]:
        def wrapped(start: int, stop: int) -> None:
            make(start, stop)
            torch.cuda.synchronize()

        return wrapped

    copied = memory_bandwidth(torch, synchronised)
    print(f"{torch.cuda.get_device_name()}; copying memory: {copied / 1e9:,.0f} GB/s.\n")
    print("| columns | blends/s | of blends drawn before | GB/s that must then be moved | share of a copy's |")
    print("|---|---|---|---|---|")
    # Read: pixels and flags of two stamps. Written: the columns.
    moved = {"image": 10 + 4, "image, ogg_masks": 10 + 7, "image, masks, galaxies": 10 + 14}
    for name, each in moved.items():
        method, columns = SETS[name]
        blends = Blends(datapath, method=method, device="cuda").select_columns(columns)
        first = rate(synchronised(lambda start, stop, blends=blends: blends[start:stop]), BATCH)
        again = rate(
            synchronised(lambda start, stop, blends=blends: blends[start % DRAWN : start % DRAWN + BATCH]), BATCH
        )
        moved_bytes = again * each * PIXELS
        print(f"| {name} | {first:,.0f} | {again:,.0f} | {moved_bytes / 1e9:,.0f} | {moved_bytes / copied:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datapath", type=Path, help="folder of the unpacked archive; simulated without it")
    parser.add_argument("--n_blends", type=int, default=20_000, help="blends that are written to disk")
    parser.add_argument("--many", type=int, default=200_000, help="blends that are built into shards to see the memory")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to put a temporary folder")
    options = parser.parse_args()
    print(f"{machine()}; {versions(['numpy', 'h5py', 'deflate', 'torch'])}")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        datapath = options.datapath.resolve() if options.datapath else simulate(folder)
        on_the_fly(datapath)
        more_galaxies(datapath)
        on_disk(datapath, folder, options.n_blends, options.many, options.workers)
        more_galaxies_on_disk(datapath, folder, options.n_blends // 4, options.workers)
        candels_blender(datapath, folder)
        on_gpu(datapath)
    print(f"\nPeak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB.")


if __name__ == "__main__":
    main()
