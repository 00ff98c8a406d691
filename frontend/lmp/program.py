"""The module under construction: definitions, functions, and which symbols are taken."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.env import Env
from lampc.frontend.lmp.report import Reporter
from lampc.ir import Module, Op, Record, Sampling, Signature, Span, Type
from lampc.ir.content import Field
from lampc.ir.prog import DefModel, DefRetriever, DefTool


@dataclass(slots=True)
class Predictor:
    """What a `use` of a signature stands for."""

    symbol: str
    signature: Signature
    sampling: Sampling
    samples: int
    span: Span
    reasons: bool = False
    used: bool = False


@dataclass(slots=True)
class Function:
    """What a `use` of a module stands for: a function of the module."""

    symbol: str
    inputs: list[Field]
    returns: Record
    span: Span
    used: bool = False


@dataclass(slots=True)
class Tuned:
    """A `tune` parameter."""

    symbol: str
    type: Type
    span: Span
    used: bool = False


@dataclass(slots=True)
class Program:
    """Everything that goes into the module, in order."""

    report: Reporter
    definitions: list[Op] = field(default_factory=list)
    functions: list[Op] = field(default_factory=list)
    symbols: set[str] = field(default_factory=set)
    made: dict[int, str] = field(default_factory=dict)
    roots: dict[str, Function] = field(default_factory=dict)
    predictors: dict[str, Predictor] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)

    def take(self, name: str, *otherwise: str) -> str:
        """A free symbol: `name`, else the first free one of `otherwise`, else a numbered one."""
        numbered = (f"{name}_{i}" for i in itertools.count(1))
        free = next(c for c in itertools.chain((name, *otherwise), numbered) if c not in self.symbols)
        self.symbols.add(free)
        return free

    def define(self, env: Env, decl: ast.ModelDecl | ast.RetrieverDecl | ast.ToolDecl) -> str | None:
        """Symbol of a declared model, retriever or tool; its definition is made on the first call."""
        from lampc.frontend.lmp.definitions import definition

        if id(decl) in self.made:
            return self.made[id(decl)]
        op = definition(env, decl)
        if op is None:
            return None
        op.symbol = self.made[id(decl)] = self.take(decl.name.name)
        self.definitions.append(op)
        return op.symbol

    def find(self, symbol: str) -> Op | None:
        """The definition `@symbol`."""
        return next((op for op in self.definitions if op.symbol == symbol), None)

    def assemble(self) -> Module:
        """The module: definitions, then functions."""
        module = Module("main")
        for op in (*self.definitions, *self.functions):
            module.add(op)
        return module


__all__ = ["DefModel", "DefRetriever", "DefTool", "Function", "Predictor", "Program", "Tuned"]
