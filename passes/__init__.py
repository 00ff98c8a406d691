"""TODO."""

if __name__ != "lampc.passes":
    raise ImportError("import lampc.passes, not passes")
