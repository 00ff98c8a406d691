"""TODO."""

if __name__ != "lampc.runtime":
    raise ImportError("import lampc.runtime, not runtime")
