"""Planted bugs: each a small change of the supervisor's source, and each has to be found.

``python -m tests.mutants [NAME...]`` plants them one by one, in a process of its own, and says what
found each and after how many seconds of one core.
"""
