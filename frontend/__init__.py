"""Programs become IR here: `frontend.lmp` reads the `.lmp` language, `frontend.python` traces Python.

Both give a `lampc.ir.Unit`; neither knows how a program is run.
"""
