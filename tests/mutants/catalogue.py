"""All planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import (
    in_brain,
    in_commands,
    in_edges,
    in_endings,
    in_order,
    in_outside,
    in_policy,
    in_shell,
    in_surroundings,
    in_time,
)

if TYPE_CHECKING:
    from .mutant import Mutant

PARTS: Final = (
    in_order,
    in_brain,
    in_time,
    in_commands,
    in_policy,
    in_endings,
    in_shell,
    in_outside,
    in_edges,
    in_surroundings,
)
MUTANTS: Final[dict[str, Mutant]] = {
    mutant.name: mutant for part in PARTS for mutant in part.MUTANTS
}
