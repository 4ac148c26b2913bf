"""Build a data set: `python build_parent_sample.py gz3d --tiny --demo`; `--help` lists the data sets and options."""

from skyshards.cli.main import build

if __name__ == "__main__":
    build()
