"""`lampc.propose`: who writes instructions for `MIPROv2`, `COPRO` (`proposer=`) and `GEPA` (`instruction_proposer=`).

Not DSPy's class of that place: `Grounded` does what its `GroundedProposer` does, within the jobs of an optimizer.
"""

from lampc.passes.optimize.proposers import Attempts, Edits, Grounded, Pool, Proposer, Reflect, Templates, Wish

__all__ = ["Attempts", "Edits", "Grounded", "Pool", "Proposer", "Reflect", "Templates", "Wish"]
