"""TODO."""

if __name__ != "lampc.frontend":
    raise ImportError("import lampc.frontend, not frontend")
