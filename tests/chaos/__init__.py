"""Chaos, for real: a running supervisor on the real clock, and numbers that it has to keep.

``python -m tests.chaos`` (``make chaos``) runs all scenarios and prints one verdict line each.
"""
