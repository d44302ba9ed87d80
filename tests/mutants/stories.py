"""All stories: `STORIES` by name, `tell` for one, `tell_all` for the search for a planted bug."""

from __future__ import annotations

from . import (
    stories_done,
    stories_edges,
    stories_end,
    stories_exit,
    stories_order,
    stories_stop,
    stories_time,
    stories_watch,
)
from .story import STORIES, tell, tell_all

__all__ = ["STORIES", "tell", "tell_all"]

for _each in (
    stories_done,
    stories_edges,
    stories_end,
    stories_exit,
    stories_order,
    stories_stop,
    stories_time,
    stories_watch,
):
    assert _each.__doc__  # imported for what they put into STORIES
