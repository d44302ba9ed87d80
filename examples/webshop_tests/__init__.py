"""Tests of the web shop."""
