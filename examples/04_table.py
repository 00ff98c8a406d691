"""A table of rows: keep some (filter), label each that is kept (map), say which label is the most common (reduce)."""

from typing import Literal

import lampc

Group = Literal["child", "adult", "senior"]


class Check(lampc.Signature):
    """Keep the row if age is more than 40."""

    row: str = lampc.InputField()
    keep: bool = lampc.OutputField()


class Label(lampc.Signature):
    """Label the row by age: child, adult or senior."""

    row: str = lampc.InputField()
    group: Group = lampc.OutputField()


class Reduce(lampc.Signature):
    """Say the most common item."""

    items: list[str] = lampc.InputField()
    item: str = lampc.OutputField()


class Table(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.check = lampc.Predict(Check)
        self.label = lampc.Predict(Label)
        self.reduce = lampc.Predict(Reduce)

    def forward(self, rows: list[str]) -> lampc.Prediction:
        kept = []
        for row in rows:
            verdict = self.check(row=row)
            if verdict.keep:
                kept.append(row)
        groups = []
        for row in kept:
            named = self.label(row=row)
            groups.append(named.group)
        most = self.reduce(items=groups)
        return lampc.Prediction(common=most.item, groups=groups, kept=kept)


program = Table()

lampc.test(
    "only rows that are kept are labelled",
    program,
    {"rows": ["name ann, age 12", "name bob, age 30"]},
    mock={"check": {"keep": False}, "reduce": {"item": "none"}},
    expect=[
        lambda outputs, stats: len(outputs.kept) == 0 and len(outputs.groups) == 0,
        lambda outputs, stats: stats.calls == 3 and stats.calls_of.label == 0,
    ],
)
