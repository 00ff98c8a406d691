"""Modules made of predictors, under DSPy's names: agents, several attempts, comparisons, votes, neighbours."""
