"""Tests of the bundled model and of the tools that make it."""
