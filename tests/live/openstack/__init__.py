"""Tests against a real OpenStack, and the stack itself (``stack.py``)."""
