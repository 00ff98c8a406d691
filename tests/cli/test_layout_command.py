"""`lampc layout` on firefly: what saves tokens is kept where the gate passes, and only there."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir.adapters import bind_predictors
from lampc.runtime.saved import load_saved
from lampc.runtime.session import Session
from lampc.runtime.types import Row

PEOPLE = ["ann", "bob", "cora", "dina", "emil", "fred", "gina", "hugo", "ivan", "jane", "karl", "lena"]
CITIES = ["oslo", "rome", "paris", "madrid", "berlin", "sofia", "lima", "dublin", "hanoi", "tokyo", "cairo", "vienna"]
PROGRAM = """signature Answer(INPUTS) -> (answer: str) {
  "Answer the question from the facts."
}
module Read(INPUTS) -> (answer: str) {
  use read = Predict(Answer)ATTRS;
  let found = read(question: question, context: context);
  return (answer: found.answer);
}
dataset rows: (INPUTS, answer: str) = jsonl("rows.jsonl", split: "split");
optimize Read with bootstrap() on rows.train select rows.dev by exact_match;
"""


def write(folder: Path, rows: list[tuple[str, list[str], str]], inputs: str, attrs: str = "", train: int = 24) -> Path:
    lines = [
        {"question": q, "context": c, "answer": a, "split": "train" if i < train else "dev"}
        for i, (q, c, a) in enumerate(rows)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = folder / "qa.lmp"
    path.write_text(PROGRAM.replace("INPUTS", inputs).replace("ATTRS", attrs))
    return path


def shared_documents(questions: int = 64) -> list[tuple[str, list[str], str]]:
    """Four questions about each document."""
    rng, rows = random.Random(0), list[tuple[str, list[str], str]]()
    for _ in range(questions // 4):
        people, homes = rng.sample(PEOPLE, 4), rng.choices(CITIES, k=4)
        facts = [f"{p} lives in {c}" for p, c in zip(people, homes, strict=True)]
        rows += [(f"where does {p} live ?", facts, c) for p, c in zip(people, homes, strict=True)]
    rng.shuffle(rows)
    return rows


def one_question() -> list[tuple[str, list[str], str]]:
    """One long question about documents that are all different."""
    rng, rows = random.Random(0), list[tuple[str, list[str], str]]()
    for _ in range(60):
        people, homes = ["ann", *rng.sample(PEOPLE[1:], 2)], rng.sample(CITIES, 3)
        facts = [f"{p} lives in {c}" for p, c in zip(people, homes, strict=True)]
        rng.shuffle(facts)
        asked = "where does ann live ? say the city of ann and nothing else please , it is for a list of all people"
        rows.append((asked, facts, homes[0]))
    return rows


QUESTION_FIRST, CONTEXT_FIRST = "question: str, context: list[str]", "context: list[str], question: str"


def test_documents_that_come_back_move_to_the_front(folder: Path, lampc: Callable[..., Any]) -> None:
    program, saved = write(folder, shared_documents(), QUESTION_FIRST), folder / "qa.lampc"
    done = lampc("layout", program, "--save", saved, "--sample", "24")
    assert done.code == 0, done.err
    assert "compact[instruction,demos,context,question]" in done.out
    found = load_saved(saved)
    (record,) = found.gates
    assert record.accepted
    assert record.bound > 0.1, "firefly knows this order better"
    assert str(record) in done.out
    computed = re.search(r"computed there, each from empty caches: ([\d,]+) -> ([\d,]+)", done.out)
    assert computed is not None
    before, after = (int(n.replace(",", "")) for n in computed.groups())
    assert after < before
    for form, tokens in ((compile_lmp(program.read_text()), before), (found, after)):
        data = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()[24:]]
        asked = [Row(str(i + 1), {n: d[n] for n in ("question", "context")}) for i, d in enumerate(data)]
        with Session() as session:
            session.run(form.module, asked, assignment=getattr(form, "assignment", None))
            assert session.usage.computed_tokens == tokens, "what a session computes that ran nothing before"
    assert bind_predictors(found.module, found.assignment)["read"].layout.endswith(
        "[instruction,demos,context,question]"
    )
    first, second = (float(found.info[name]) for name in ("score_before", "score_after"))
    assert second - first == pytest.approx(100 * record.delta)
    done = lampc("explain", saved, "--rows", "8")
    assert f"G  {record}" in done.out
    assert "EG" in done.out
    done = lampc("layout", saved, "--data", folder / "rows.jsonl", "--sample", "24", "--dry-run")
    assert "kept as written" in done.out, f"a second time finds nothing: {done.out}{done.err}"


def test_what_the_gate_refuses_is_not_kept(folder: Path, lampc: Callable[..., Any]) -> None:
    program, saved = write(folder, one_question(), CONTEXT_FIRST), folder / "qa.lampc"
    done = lampc("layout", program, "--save", saved, "--sample", "24")
    assert done.code == 0, done.err
    assert "compact[instruction,demos,question,context]" in done.out
    assert "refused: " in done.out
    assert "lower bound" in done.out
    assert not saved.exists()


def test_what_is_frozen_or_saves_little_stays(folder: Path, lampc: Callable[..., Any]) -> None:
    program = write(folder, shared_documents(), QUESTION_FIRST, " @frozen(layout)")
    done = lampc("layout", program, "--sample", "24", "--dry-run")
    assert done.code == 0, done.err
    assert "kept as written" in done.out
    program = write(folder, shared_documents(), QUESTION_FIRST)
    done = lampc("layout", program, "--sample", "24", "--dry-run", "--worth", "0.99")
    assert "a new order has to save more than 99 % of the prompt tokens" in done.out
    program = write(folder, shared_documents(), QUESTION_FIRST)
    done = lampc("layout", program, "--sample", "12", "--dry-run", "--trials", "8", "--demos", "0")
    assert "12 calls on 12 rows of rows.train under 8 candidates" in done.out
    assert "compact[demos,context,question,instruction]" in done.out, "instructions change, rows come back"


CONTINUED = """
signature Again(question: str, context: list[str]) -> (sure: str @max(4)) { "Are you sure?" }
"""


def test_calls_of_a_conversation_stay_and_are_not_counted(folder: Path, lampc: Callable[..., Any]) -> None:
    program = write(folder, shared_documents(), QUESTION_FIRST)
    plain = lampc("layout", program, "--sample", "24", "--dry-run")
    text = PROGRAM.replace("INPUTS", QUESTION_FIRST).replace("ATTRS", "")
    both = CONTINUED + text.replace("use read", "use again = Predict(Again);\n  use read")
    behind = "  let more = again(question: question, context: context) @continue({});\n  return (answer: more.sure);\n"
    program.write_text(both.replace("  return (answer: found.answer);\n", behind.format("found")))
    done = lampc("layout", program, "--sample", "24", "--dry-run")
    assert done.code == 0, done.err
    assert "again, read: in a conversation (@continue), so not moved, and not counted below" in done.out
    assert "kept as written: there are no other calls to arrange" in done.out
    assert "prompt tokens" not in done.out

    asked = "  use once = Predict(Answer);\n  let first = once(question: question, context: context);\n"
    program.write_text(
        both.replace("  return (answer: found.answer);\n", asked + behind.format("found")).replace(
            "(answer: more.sure)", "(answer: first.answer)"
        )
    )
    done = lampc("layout", program, "--sample", "24", "--dry-run")
    assert done.code == 0, done.err
    counted = next(line for line in plain.out.splitlines() if line.startswith("prompt tokens"))
    assert "again, read: in a conversation" in done.out
    assert "once: compact" in done.out
    assert counted in done.out, "those of the call that stands alone"


def test_bad_requests_say_why(folder: Path, lampc: Callable[..., Any]) -> None:
    program = write(folder, shared_documents(), QUESTION_FIRST)
    done = lampc("layout", program, "--save", folder / "x.txt")
    assert (done.code, "saved as .lampc" in done.err) == (1, True)
    done = lampc("layout", program, "--metric", "nosuch")
    assert done.code == 1
    assert "nosuch" in done.err
    assert lampc("layout", folder / "none.lmp").code == 1


def test_too_few_rows_are_refused_before_anything_is_run(
    folder: Path, lampc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    run = Session.run_cells

    def counted(self: Session, program: Any, cells: Any, *more: Any, **options: Any) -> Any:
        ran.append(len(cells))
        return run(self, program, cells, *more, **options)

    monkeypatch.setattr(Session, "run_cells", counted)
    program, saved = write(folder, shared_documents(40), QUESTION_FIRST), folder / "qa.lampc"
    done = lampc("layout", program, "--save", saved, "--sample", "4")
    assert done.code == 1
    assert "rows.dev: 16 rows are too few to tell, 20 are needed" in done.err
    assert (ran, saved.exists()) == ([], False)
    assert lampc("layout", program, "--sample", "4", "--dry-run").code == 0
    assert ran == [4]
