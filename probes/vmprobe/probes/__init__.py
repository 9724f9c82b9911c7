"""The probes: one module for each executable, with its options, and what it makes of what it finds."""
