"""Twelve planted bugs in three realistic programs, and the tools of the kit that find them."""
