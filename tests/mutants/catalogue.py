"""All planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import in_brain, in_order, in_policy, in_shell

if TYPE_CHECKING:
    from .mutant import Mutant

MUTANTS: Final[dict[str, Mutant]] = {
    mutant.name: mutant
    for each in (in_order, in_brain, in_policy, in_shell)
    for mutant in each.MUTANTS
}
