"""The Python frontend: signatures, modules, tracing, eager mode."""
