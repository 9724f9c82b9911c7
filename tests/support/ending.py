"""What tests start once for a whole run, and what ends with it."""

from contextlib import ExitStack

run = ExitStack()  # closed by conftest.py
