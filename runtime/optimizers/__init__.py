"""DSPy's optimizers over the runtime, one a file: classes with `compile(student, trainset=...)`."""
