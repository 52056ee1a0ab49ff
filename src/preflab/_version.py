"""The one place that holds the version; the package's metadata are built from it."""

__version__ = "0.1.0"
