"""A log keeper: follows growing log files, stores their lines in SQLite, answers queries over TCP.

It shows how a small but real program is built as a supervision tree (`tree`), and what that buys:
any part can be killed at any moment, and every line is still stored exactly once.
"""
