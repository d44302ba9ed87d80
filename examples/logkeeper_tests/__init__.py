"""Tests of the log keeper with nothing but the public testing kit: see ``docs/testing.md``."""
