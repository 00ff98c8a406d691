"""Optimizers by themselves: what they ask for, and what they make of what they are told."""
