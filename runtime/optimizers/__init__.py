"""DSPy's optimizers by their names, arguments and defaults, over the runtime, one a file.

Each is thin: it turns its arguments into a strategy of `lampc.passes.optimize`, lets `base.improve` run that, and puts
what was found into a copy of the student.
"""
