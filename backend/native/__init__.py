"""Kernels for CPUs in C++, built on the user's machine by its own compiler; without them all runs in torch."""
