"""Small problems for optimizers, and a stand-in for whatever runs their jobs."""

from __future__ import annotations

from collections.abc import Callable

from lampc.ir import Assignment, Module, Obj, parse_module
from lampc.passes.optimize import (
    EvaluateJob,
    EvaluateResult,
    Example,
    Job,
    Optimizer,
    Problem,
    Result,
    RunJob,
    RunResult,
    TracedCall,
)


def _signature(*names: str, instruction: str) -> str:
    *given, made = names
    fields = ", ".join(f'#field<name = "{n}", type = !str>' for n in given)
    return (
        f"#signature<inputs = [{fields}], outputs = "
        f'[#field<name = "{made}", type = !str>], instruction = "{instruction}">'
    )


ONE = _signature("text", "label", instruction="Label it.")
TWO = _signature("text", "label", "why", instruction="Say why.")


def module(frozen: str = "[]") -> Module:
    """A program of two predictors, `first` (text -> label) and `second` (text, label -> why), of which the
    first is called twice; `frozen` are parameters of the first. `other` is never called."""
    return parse_module(
        f"""module @test {{
          prog.def_predictor @first() {{signature = {ONE}, frozen = {frozen}}} : ()
          prog.def_predictor @second() {{signature = {TWO}}} : ()
          prog.def_predictor @other() {{signature = {TWO}}} : ()
          prog.func @main() {{returns = !{{label: str, why: str}}}} do (%text: str) {{
            %a = prog.predict(%text) {{key = #key<path = ["first#0"]>, predictor = @first, signature = {ONE}}}
               : ({{label: str}})
            %x = prog.field(%a) {{field = "label"}} : (str)
            %b = prog.predict(%x) {{key = #key<path = ["first#1"]>, predictor = @first, signature = {ONE}}}
               : ({{label: str}})
            %y = prog.field(%b) {{field = "label"}} : (str)
            %c = prog.predict(%text, %y) {{key = #key<path = ["second#0"]>, predictor = @second, signature = {TWO}}}
               : ({{why: str}})
            %w = prog.field(%c) {{field = "why"}} : (str)
            %r = prog.pack(%y, %w) {{names = ["label", "why"]}} : ({{label: str, why: str}})
            prog.return(%r) : ()
          }} : ()
        }}"""
    )


def examples(n: int) -> tuple[Example, ...]:
    return tuple(Example({"text": f"t{i}"}, {"label": f"l{i}", "why": f"w{i}"}) for i in range(n))


def problem(n: int = 10, select: int = 4, frozen: str = "[]", start: Assignment | None = None) -> Problem:
    return Problem(module(frozen), examples(n), select, start or Assignment())


def trace_of(row: int, rollout: int = 0) -> tuple[TracedCall, ...]:
    """What a run of the program above leaves behind."""
    mark = f"{row}.{rollout}"
    return (
        TracedCall("first", Obj({"text": f"t{row}"}), Obj({"label": f"a{mark}"})),
        TracedCall("first", Obj({"text": f"a{mark}"}), Obj({"label": f"b{mark}"})),
        TracedCall("second", Obj({"text": f"t{row}", "label": f"b{mark}"}), Obj({"why": f"c{mark}"})),
    )


Answer = Callable[[Job], Result]


def drive(optimizer: Optimizer, answer: Answer, n: int = 4096) -> list[Job]:
    """Answer everything that is asked for, at most `n` jobs at a time; gives the jobs."""
    jobs: list[Job] = []
    while not optimizer.done:
        batch = optimizer.ask(n)
        assert batch, "nothing asked, and not done"
        assert len(batch) <= n
        results = [answer(job) for job in batch]  # all run before the first result is told
        for job, result in zip(batch, results, strict=True):
            optimizer.tell(job, result)
        jobs += batch
    return jobs


def runs(succeed: Callable[[int, int], float | None]) -> Answer:
    """Answers to `RunJob`s: the score of (row, rollout), None for a run that fails."""

    def answer(job: Job) -> Result:
        assert isinstance(job, RunJob)
        score = succeed(job.row, job.rollout)
        if score is None:
            return RunResult(0.0, (), "it broke")
        return RunResult(score, trace_of(job.row, job.rollout))

    return answer


def scores(score: Callable[[Assignment], float]) -> Answer:
    """Answers to `EvaluateJob`s: one score for all rows."""

    def answer(job: Job) -> Result:
        assert isinstance(job, EvaluateJob)
        return EvaluateResult((score(job.assignment),) * len(job.rows))

    return answer
