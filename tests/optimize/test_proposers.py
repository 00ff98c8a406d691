"""Proposers of instructions: without a model, and written by a scripted model that answers in prose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lampc.ir import Demo, Obj
from lampc.passes.optimize import CallJob, CallResult, Job, OptimizeError, Problem
from lampc.passes.optimize.proposers import TIPS, Attempts, Drafting, Edits, Grounded, Pool, Templates, Wish, chosen
from lampc.passes.optimize.proposers.asking import without_label
from lampc.passes.optimize.proposers.edits import edits, sentences
from tests.optimize.problems import problem

TEXT = "Read the text, and then label it. Use one word. Do not explain."


def wish(p: Problem, name: str = "first", text: str = "", **more: Any) -> Wish:
    predictor = next(x for x in p.predictors() if x.symbol == name)
    return Wish(predictor, text or predictor.signature.instruction, **more)


def answered(drafting: Drafting, answer: Any, batches: list[list[CallJob]] | None = None) -> list[str | None]:
    """Let `answer(job)` give outputs by name, or an exception, until all texts are there."""
    while not drafting.done:
        jobs: list[Job] = drafting.ask(4096)
        assert jobs, "nothing asked, and not done"
        asked = [job for job in jobs if isinstance(job, CallJob)]
        assert len(asked) == len(jobs)
        if batches is not None:
            batches.append(asked)
        for job in asked:
            said = answer(job)
            failed = isinstance(said, Exception)
            drafting.tell(job, CallResult(Obj(), "", str(said)) if failed else CallResult(Obj(said)))
    return list(drafting.texts)


# -- without a model -----------------------------------------------------------------------------------


def test_a_pool_gives_each_text_once_and_none_that_is_known() -> None:
    p = problem()
    pool = Pool(["A", "B", "Label it.", "C", "B"])
    wishes = [wish(p, number=i) for i in range(3)] + [wish(p, "second", attempts=(("B", 10.0),), tried=("C",))]
    assert pool.begin(p, wishes).texts == ["A", "B", "C", "A"]
    assert pool.begin(p, [wish(p, tried=("A", "B", "C"))]).texts == [None]


def test_pools_by_predictor_and_from_files(tmp_path: Path) -> None:
    p = problem()
    (tmp_path / "a.txt").write_text("one\n\n two \n")
    by_name = Pool({"first": "a.txt"}, tmp_path)
    assert by_name.begin(p, [wish(p), wish(p, number=1), wish(p, "second")]).texts == ["one", "two", None]
    assert by_name.files(p) == {"first": ["one", "two"], "second": []}
    with pytest.raises(OptimizeError, match="the pool is for `third`; there are first, second"):
        Pool({"third": ["x"]}).begin(p, [wish(p)])


def test_templates_are_filled() -> None:
    p = problem()
    made = Templates(("Given {inputs}, give {outputs}. {instruction}", "{tip} {instruction}", "JSON like {} or {a b}"))
    texts = made.begin(p, [wish(p, "second", tip="Be kind."), wish(p, "second", number=1)]).texts
    assert texts == ["Given `text` and `label`, give `why`. Say why.", "Be kind. Say why."]
    assert Templates(("JSON like {} or {a b}",)).begin(p, [wish(p)]).texts == ["JSON like {} or {a b}"]
    with pytest.raises(OptimizeError, match=r"no slot `\{name\}`.*known: instruction, inputs, outputs, tip"):
        Templates(("{name}",)).begin(p, [wish(p)])


@pytest.mark.parametrize(
    ("kind", "some"),
    [
        ("drop", "Read the text, and then label it. Do not explain."),
        ("swap", "Use one word. Read the text, and then label it. Do not explain."),
        ("shorten", "Read the text. Use one word. Do not explain."),
        ("reorder", "Do not explain. Read the text, and then label it. Use one word."),
    ],
)
def test_edits_of_each_kind(kind: str, some: str) -> None:
    made = list(edits(TEXT, (kind,)))
    assert some in made
    assert TEXT not in made
    words = {w.strip(".,") for w in TEXT.split()}
    assert all({w.strip(".,") for w in t.split()} <= words for t in made)
    if kind in ("swap", "reorder"):
        assert all(sorted(sentences(t)) == sorted(sentences(TEXT)) for t in made)


def test_edits_are_new_and_go_on_with_edits_of_edits() -> None:
    p = problem()
    few = len(set(edits(TEXT)))
    wishes = [wish(p, text=TEXT, number=i) for i in range(few + 5)]
    texts = Edits().begin(p, wishes).texts
    assert None not in texts
    assert len({TEXT, *texts}) == len(wishes) + 1
    assert set(texts[:few]) == set(edits(TEXT))
    assert Edits().begin(p, wishes).texts == texts != Edits(seed=1).begin(p, wishes).texts
    best = wish(p, attempts=(("Bad one. Or not.", 1.0), (TEXT, 9.0)))
    assert Edits().begin(p, [best]).texts[0] in set(edits(TEXT))
    assert Edits().begin(p, [wish(p, text="Go.")]).texts == [None]
    with pytest.raises(OptimizeError, match="no edit `cut`; known: drop, swap"):
        Edits(("cut",)).begin(p, [best])


# -- written by a model --------------------------------------------------------------------------------

PROSE = {
    "observations": "The texts are short remarks about things.",
    "summary": "Summary: short remarks, each with a label.",
    "program_description": "The program labels a text and says why.",
    "module_description": "This call finds the label.",
    "proposed_instruction": 'Proposed instruction: "Name the label that fits the text best."',
}


def prose(job: CallJob) -> dict[str, str]:
    return {f.name: PROSE[f.name] for f in job.signature.outputs}


def demo(n: int) -> Demo:
    return Demo(Obj({"text": f"t{n}", "label": f"l{n}"}), augmented=True)


def test_what_is_written_is_grounded_in_program_data_demos_and_tip() -> None:
    p, batches = problem(25), list[list[CallJob]]()
    wishes = [wish(p, demos=(demo(1),), tip=TIPS["simple"], number=7), wish(p, "second")]
    texts = answered(Grounded(prompt_model="main").begin(p, wishes), prose, batches)
    assert texts == ["Name the label that fits the text best."] * 2
    last = batches[-1]
    assert [j.number for j in last] == [7, 0]
    asked = dict(last[0].inputs)
    assert asked["dataset_description"] == "short remarks, each with a label."
    assert "first(text: str) -> (label: str)" in asked["program_code"]
    assert "c = second(text, b.label)" in asked["program_code"]
    assert asked["program_description"] == PROSE["program_description"]
    assert (asked["module"], asked["module_description"]) == ("first(text) -> label", PROSE["module_description"])
    assert asked["task_demos"] == "text: t1\nlabel: l1"
    assert (asked["basic_instruction"], asked["tip"]) == ("Label it.", TIPS["simple"])
    assert "tip" not in last[1].inputs  # one that was not given is not spoken of
    first = next(j for b in batches for j in b if "examples" in j.inputs)
    assert '{"text": "t0", "label": "l0", "why": "w0"}' in str(first.inputs["examples"])
    assert all(j.sampling.temperature == 1.0 for b in batches for j in b)


def test_equal_descriptions_are_asked_for_once_and_independent_calls_together() -> None:
    p, batches = problem(25), list[list[CallJob]]()
    wishes = [wish(p, n, demos=d, number=i) for n in ("first", "second") for i, d in enumerate([(), (), (demo(1),)])]
    options = Grounded()
    bound = options.calls(p, len(wishes))
    answered(options.begin(p, wishes), prose, batches)
    names = [j.signature.name for b in batches for j in b]
    # three batches of rows and their summary; without demos, and a demo of either predictor; six instructions
    assert (names.count("observe"), names.count("observe_more"), names.count("summarize")) == (1, 2, 1)
    assert (names.count("describe_program"), names.count("describe_part")) == (3, 4)
    assert names.count("write_instruction") == 6
    assert len(names) == 17 < bound == 4 + 3 * 6
    assert len(batches) == 5  # the summary's four calls, beside which all is described, then all instructions


def test_the_summary_stops_where_nothing_is_added() -> None:
    p, batches = problem(90), list[list[CallJob]]()

    def answer(job: CallJob) -> dict[str, str]:
        more = "prior_observations" in job.inputs
        return {"observations": "complete."} if more else prose(job)

    answered(Grounded(program_aware=False).begin(p, [wish(p)]), answer, batches)
    assert [b[0].signature.name for b in batches] == [
        "observe",
        *["observe_more"] * 5,
        "summarize",
        "write_instruction",
    ]
    assert batches[6][0].inputs["observations"] == PROSE["observations"]


@pytest.mark.parametrize("broken", ["observe", "observe_more", "summarize", "describe_program", "describe_part"])
def test_what_cannot_be_had_is_done_without(broken: str) -> None:
    p, batches = problem(25), list[list[CallJob]]()

    def answer(job: CallJob) -> Any:
        return OSError("no answer") if job.signature.name == broken else prose(job)

    drafting = Grounded().begin(p, [wish(p)])
    assert answered(drafting, answer, batches) == ["Name the label that fits the text best."]
    asked = batches[-1][0].inputs
    assert ("dataset_description" in asked) == (broken not in ("observe", "summarize"))
    assert (asked["module_description"] == "(not known)") == broken.startswith("describe")
    assert drafting.calls() == 0


def test_an_instruction_that_cannot_be_had_is_missing() -> None:
    p = problem()

    def answer(job: CallJob) -> Any:
        return OSError("no answer") if job.number else prose(job)

    options = Grounded(data_aware=False, program_aware=False)
    drafting = options.begin(p, [wish(p), wish(p, number=1)])
    assert answered(drafting, answer) == ["Name the label that fits the text best.", None]
    assert drafting.errors == ["no answer"]


def test_attempts_are_shown_with_their_scores_the_worst_first() -> None:
    p, batches = problem(), list[list[CallJob]]()
    tried = (("Guess.", 12.5), ("Label it well.", 50.0))
    wishes = [wish(p), wish(p, number=1), wish(p, "second", attempts=tried)]
    texts = answered(Attempts().begin(p, wishes), lambda job: {"proposed_instruction": f"N{job.number}"}, batches)
    assert texts == ["N0", "N1", "N0"]
    ((one, _, other),) = batches
    assert dict(one.inputs) == {"basic_instruction": "Label it."}
    assert other.inputs["attempted_instructions"] == (
        "Instruction 1: Guess.\nScore 1: 12.5\n\nInstruction 2: Label it well.\nScore 2: 50"
    )


def test_a_model_that_the_program_lacks_is_named() -> None:
    for proposer in (Grounded(prompt_model="big"), Attempts(prompt_model="big")):
        with pytest.raises(OptimizeError, match="the program defines no model `big` to ask for proposals"):
            proposer.begin(problem(), [wish(problem())])


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Proposed Instruction: Do it.", "Do it."),
        ('"Do it."', "Do it."),
        ("** New text: ** Do it.", "** Do it."),
        ("Do it: now and here, with great care.", "now and here, with great care."),  # as there
        ("One two three four five six: seven", "One two three four five six: seven"),
    ],
)
def test_labels_are_taken_off(text: str, bare: str) -> None:
    from dspy.propose.utils import strip_prefix

    assert without_label(text) == bare == strip_prefix(text)


def test_proposers_by_name() -> None:
    written = Grounded()
    assert chosen("x", "", (), Path(), written, 0) is written
    assert chosen("x", "", ["A"], Path(), written, 0) == Pool(["A"], Path())
    assert chosen("x", "templates", ["A"], Path(), written, 0) == Templates(("A",))
    assert chosen("x", "edits", (), Path(), written, 3) == Edits(seed=3)
    assert chosen("x", written, (), Path(), Attempts(), 3) is written
    with pytest.raises(OptimizeError, match="x: there is no proposer `gpt`; known: pool, templates, edits, grounded"):
        chosen("x", "gpt", (), Path(), written, 0)
