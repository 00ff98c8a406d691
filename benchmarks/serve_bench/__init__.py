"""Servers under load over HTTP: ours against vLLM's (`make bench-serve`), and the load of `soak_serve.py`."""
