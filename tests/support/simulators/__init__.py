"""Managers that the tests speak to where no real one can be had; each is judged by its manager's own client."""
