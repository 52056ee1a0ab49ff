"""The version of preflab. The package's metadata are built from this file."""

__version__ = "0.1.0"
