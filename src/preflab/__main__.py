"""Runs the command line interface for `python -m preflab`."""

from preflab.cli import main

if __name__ == "__main__":
    main()
