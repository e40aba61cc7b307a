"""The command line: ``bongsu COMMAND``. Each command is a few lines; what it does stands in its own module."""

from bongsu.cli.app import main

__all__ = ["main"]
