"""Measure how copying batches to a GPU overlaps with reading them, and the rate of `skyshards embed` there.

    pip install -e '.[bench,embed]' && python benchmarks/to_gpu.py [--rows 512] [--rounds 5]

Shuffled batches of 64 GZ3D rows (1.93 MB each), from the page cache. Each way of reading is measured in turn; the best
round counts. Without a GPU, only reading is measured. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from harness import best_in_turn, machine, print_table, versions
from rows import BATCH, SEED
from simulated import build_gz3d, make_fits

import skyshards
from skyshards.embed.encoders import encode, timm_encoder

ENCODERS = ("convnext_nano", "resnet18")


def pinned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return torch.empty(shape, dtype=getattr(torch, dtype), pin_memory=True).numpy()


def tensors(batch: dict) -> list[torch.Tensor]:
    return [torch.from_numpy(batch["image"]), torch.from_numpy(batch["segmentation"]["array"])]


def epoch(table: skyshards.Table, on_batch: Callable[[dict], object], **options) -> Callable[[], None]:
    def run() -> None:
        order = np.random.default_rng(SEED).permutation(len(table))
        batches = [order[first : first + BATCH] for first in range(0, len(table), BATCH)]
        for batch in table.batches(batches, **options):
            on_batch(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run


def measure_reading(folders: dict[str, Path], rounds: int) -> list[tuple]:
    def to_gpu(batch: dict) -> list[torch.Tensor]:
        return [tensor.to("cuda", non_blocking=True) for tensor in tensors(batch)]

    lines = []
    for name, folder in folders.items():
        table = skyshards.open(folder).select_columns(["image", "segmentation.array"])
        ways = {"reading alone": epoch(table, lambda batch: None)}
        if torch.cuda.is_available():
            ways["reading into pinned memory alone"] = epoch(table, lambda batch: None, empty=pinned)
            ways["to the GPU from ordinary memory"] = epoch(table, to_gpu)
            ways["to the GPU from pinned memory"] = epoch(table, to_gpu, empty=pinned)
        best = best_in_turn(ways, rounds)
        alone = best["reading alone"]
        lines += [(name, way, f"{len(table) / best[way]:,.0f}", f"{alone / best[way]:.2f}") for way in ways]
    return lines


def measure_copies(rounds: int) -> list[tuple]:
    """GB/s of copying a batch's bytes to the GPU, and of the GPU's waiting for nothing else."""
    size = BATCH * (525 * 525 * 3 + 4 * 525 * 525)
    memories = {"ordinary memory": torch.ones(size, dtype=torch.uint8)}
    memories["pinned memory"] = memories["ordinary memory"].pin_memory()

    def copied(tensor: torch.Tensor) -> Callable[[], None]:
        def run() -> None:
            for _ in range(8):
                tensor.to("cuda", non_blocking=True)
            torch.cuda.synchronize()

        return run

    best = best_in_turn({name: copied(tensor) for name, tensor in memories.items()}, rounds)
    return [(name, f"{8 * size / seconds / 1e9:.1f}") for name, seconds in best.items()]


def measure_embedding(folder: Path, rows: int = 512) -> list[tuple]:
    """Vectors per second: of the network alone, on images that are in memory, and with reading."""
    table = skyshards.open(folder).select_columns(["image"])
    images, lines = table[: min(rows, len(table))]["image"], []
    keys = [range(first, min(first + BATCH, len(table))) for first in range(0, len(table), BATCH)]
    for model in ENCODERS:
        encoder = timm_encoder(model, untrained=True)
        encode(images[:BATCH], encoder)
        start = time.perf_counter()
        for first in range(0, len(images), BATCH):
            encode(images[first : first + BATCH], encoder)
        alone = len(images) / (time.perf_counter() - start)
        start = time.perf_counter()
        for batch in table.batches(keys):
            encode(batch["image"], encoder)
        lines.append((model, f"{alone:,.0f}", f"{len(table) / (time.perf_counter() - start):,.0f}"))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5, help="how often each measure is taken")
    options = parser.parse_args()
    print(f"{machine()}\n\n{versions(['torch', 'timm', 'numpy', 'h5py', 'deflate'])}\n", flush=True)
    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}\n")
    else:
        print("PyTorch finds no GPU here.\n")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        folders = {name: scratch / name for name in ("small", "fast")}
        make_fits(scratch / "fits", options.rows, 64)
        build_gz3d(scratch / "fits", folders["small"])
        skyshards.repack(folders["small"], folders["fast"], "fast")
        lines = measure_reading(folders, options.rounds)
        print_table(("store", "shuffled batches of 64", "rows/s", "of reading alone"), lines)
        if torch.cuda.is_available():
            print_table(("a batch's bytes to the GPU, from", "GB/s"), measure_copies(options.rounds))
        lines = measure_embedding(folders["fast"])
        print_table(("encoder", "vectors/s, images in memory", "with reading"), lines)


if __name__ == "__main__":
    main()
