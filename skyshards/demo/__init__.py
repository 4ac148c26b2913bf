"""A stand-in for the public archives: simulated galaxies, served on loopback over the archives' own protocols."""

from skyshards.demo.archive import DemoArchive
from skyshards.demo.faults import Fault

__all__ = ["DemoArchive", "Fault"]
