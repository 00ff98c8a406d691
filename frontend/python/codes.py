"""Diagnostics of the Python frontend: codes L07xx, errors placed at the user's line, and `Untraceable`."""

from __future__ import annotations

from lampc.frontend.python.frames import here
from lampc.ir import CompileError, Diagnostic, Label, Span, explain


class Untraceable(Exception):
    """Internal: the program cannot become IR. `diagnostic` (a note) says which line and why."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.line())
        self.diagnostic = diagnostic


def untraceable(code: str, span: Span, message: str, help: str = "", notes: tuple[str, ...] = ()) -> Untraceable:
    """An `Untraceable` at a place."""
    return Untraceable(Diagnostic(code, message, Label(span), (), notes, help, "note"))


def wrong(code: str, message: str, span: Span | None = None, help: str = "") -> CompileError:
    """An error of the user's, placed at `span` or at the line that is running now."""
    return CompileError([Diagnostic(code, message, Label(span or here()), help=help)])


explain(
    {
        "L0701": "a signature's text cannot be read\nThe string form is `inputs -> outputs`; each side is a list of "
        "`name` or `name: type`, separated by commas, for instance `question, context: list[str] -> answer`.",
        "L0702": "a field has no usable type\nFields are str, int, float, bool, list[...], Literal[...], an Enum, "
        "Optional[...], dict, or a record given as dataclass, TypedDict or pydantic model.",
        "L0703": "a signature's attribute is no field\nEvery annotated name of a signature class is an input or an "
        "output: write `name: type = lampc.InputField()` or `lampc.OutputField()`.",
        "L0704": "a call of a predictor does not fit its signature\nA predictor takes exactly the inputs of its "
        "signature, by name, and gives its outputs. The message says which name is missing or too many.",
        "L0705": "a declaration does not fit\nA program is a function that is neither async nor yields. "
        "A dataset, metric, optimize or test declaration of a Python file names "
        "something that does not exist or has the wrong form.",
        "L0706": "an output is not of its declared type\nWhat a program returns fits its return annotation: each field "
        "of a declared record is returned, with its type. Outputs that are not declared may be anything; what is known "
        "only when the program runs is checked then.",
        "L0710": "dynamic: the source cannot be read\nTracing rewrites the source text of a function. Functions made "
        "by exec, in an interactive prompt without history, or in C have none. The program runs in eager mode.",
        "L0711": "dynamic: a statement that is not traced\nTracing follows assignments, if, for, while, match, "
        "return, break, continue, assert and raise. Try, with, async, del, global and class statements are not "
        "followed; the program runs in eager mode, where everything of Python works and calls are still batched.",
        "L0712": "dynamic: an expression that is not traced\nTracing follows operators, comparisons, comprehensions, "
        "f-strings, indexing, calls and ternaries on values that are only known when the program runs.",
        "L0713": "dynamic: a value that the IR cannot hold\nA value known only at run time must be text, a number, "
        "a truth value, a list or a record. Python objects (files, classes, functions) cannot stand for it.",
        "L0714": "dynamic: a type changes in a loop or branch\nA variable has, after a loop or branch, values of "
        "forms that do not fit together, for instance records with different fields.",
        "L0715": "dynamic: a list or dict is shared and changed\nTracing takes lists by value. A list that is known "
        "under two names, or that stands outside the function, and is changed in place cannot be followed.",
        "L0716": "dynamic: an unbounded construct\nA while loop needs a bound: the limit is max_iters of "
        "@lampc.program (1,000 by default). Recursion is not traced.",
        "L0717": "dynamic: the program keeps state between runs\nAssigning to attributes of self (or to globals) "
        "inside forward makes a run depend on the runs before it.",
        "L0718": "saving a closure\nThe program calls a Python function that exists only in this process (a closure "
        "or lambda). It runs, but a saved program cannot find it again: move the function to the top of a module.",
    }
)
