"""A Nagios/Icinga plug-in suite that asks a cloud for a test VM and proves that it is gone."""

__version__ = "0.1.0"
