"""Speculation: tokens that a request will probably write are computed beside its newest one, and kept where they are
what is drawn there. What is written is the same with and without."""
