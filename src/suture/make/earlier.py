"""What earlier makings from the same tree have found, for those that come after: an update is tried in many parts."""

from __future__ import annotations

from dataclasses import dataclass, field

from suture.compile.affected import Anew
from suture.compile.preparation import anew
from suture.compile.tree import Tree
from suture.compile.unit import Binary
from suture.make.comparison import Known
from suture.make.elsewhere import Beside
from suture.make.ground import Ground, Shipped


@dataclass
class EarlierMakings:
    """`generators` tells what the generators of the tree make of a fix."""

    generators: Anew = anew
    compared: Known = field(default_factory=dict)
    _grounds: dict[Binary, Ground] = field(default_factory=dict)

    def ground(self, tree: Tree, item: Shipped, beside: Beside) -> Ground:
        """What is known of a shipped binary."""
        return self._grounds.setdefault(item.binary, Ground(tree, item, beside))
