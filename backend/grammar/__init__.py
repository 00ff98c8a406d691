"""Grammars of answers: which tokens may come next, and which must. A thin layer over llguidance."""
