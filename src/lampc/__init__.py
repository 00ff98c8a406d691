"""lampc."""
