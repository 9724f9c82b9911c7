"""Drivers that live outside the suite and are named in a site file by their import path."""
