"""Whole programs under load: families of workloads, scripted answers, rival ways to run them, and what each costs."""
