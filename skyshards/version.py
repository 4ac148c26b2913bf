"""The version of this package, also where it runs from a checkout that is not installed."""

__version__ = "0.1.0"
