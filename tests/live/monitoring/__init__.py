"""A real Nagios 4 and a real Icinga 2, each in a directory of its own, and their state of a service."""
