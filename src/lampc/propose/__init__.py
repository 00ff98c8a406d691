"""`lampc.propose`: who writes instructions for `MIPROv2(proposer=...)` and `COPRO(proposer=...)`.

Not DSPy's class of that place: `Grounded` does what its `GroundedProposer` does, within the jobs of an optimizer.
"""

from lampc.passes.optimize.proposers import Attempts, Edits, Grounded, Pool, Proposer, Templates, Wish

__all__ = ["Attempts", "Edits", "Grounded", "Pool", "Proposer", "Templates", "Wish"]
