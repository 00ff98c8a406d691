"""Values of Python in a program: what annotations say of them, how they become JSON, and how JSON becomes them.

Values of a program are JSON, so that they can be sent, kept and compared. Outputs come back as objects of the
annotated classes; simple types are handled here, all others by pydantic, which is loaded when the first one is met.
"""
