"""Build a dataset: `python build_parent_sample.py gz3d --tiny --demo`; `--help` lists the datasets and options."""

import sys

if __name__ == "__main__":
    from skyshards_start import run

    run("skyshards.cli.main:build", sys.argv[1:])
