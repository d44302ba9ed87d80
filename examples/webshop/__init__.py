"""A web shop: orders come over HTTP, background workers ship them, SQLite keeps them.

It shows a daemon with a real ASGI application in it (`tree`, `site`), fitted into systemd and
Kubernetes by files whose numbers follow from the tree, and measures (`load`) that no request is
lost while the process is stopped and started again.
"""
