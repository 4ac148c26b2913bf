"""`python -m demo_archive`: serve the demo archive until Ctrl-C."""

from __future__ import annotations

import signal
import threading

import click

from demo_archive.archive import DemoArchive


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--galaxies", default=40, show_default=True, type=click.IntRange(1), help="Number of galaxies.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the simulation.")
def main(galaxies: int, seed: int) -> None:
    """Serve simulated data over the public archives' protocols, on this machine only, until Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with DemoArchive(galaxies=galaxies, seed=seed) as archive:
        for name in sorted(name for name in dir(type(archive)) if name.endswith("_url")):
            click.echo(f"{name:16} {getattr(archive, name)}")
        stop.wait()


if __name__ == "__main__":
    main()
