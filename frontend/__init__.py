"""Programs become IR here: `frontend.lmp` reads the `.lmp` language, `frontend.python` traces Python.

Both give a `lampc.ir.Unit`; neither knows how a program is run.
"""

if __name__ != "lampc.frontend":
    raise ImportError("import lampc.frontend, not frontend: the second import would make a second set of classes")
