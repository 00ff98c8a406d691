"""Making programs smaller: calls to bodies, constants to values, equal work once, unused work never."""

from lampc.passes.simplify.cse import Cse
from lampc.passes.simplify.dce import Dce
from lampc.passes.simplify.fold import Fold
from lampc.passes.simplify.hoist import Hoist
from lampc.passes.simplify.inline import Inline

__all__ = ["Cse", "Dce", "Fold", "Hoist", "Inline"]
