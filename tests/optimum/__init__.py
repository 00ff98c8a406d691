"""Schedules against the optimum: small programs drawn from a seed, solved exactly."""
