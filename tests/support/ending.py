"""Servers and files that tests start once for a whole run, and that end with it."""

from contextlib import ExitStack

run = ExitStack()  # closed by conftest.py
