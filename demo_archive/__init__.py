"""Local stand-in for the public archives: serves simulated galaxies on loopback over the archives' own protocols."""

from demo_archive.archive import DemoArchive
from demo_archive.serve.faults import Fault

__all__ = ["DemoArchive", "Fault"]
