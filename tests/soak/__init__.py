"""Searching for broken promises, for as long as one likes: ``python -m tests.soak``."""
