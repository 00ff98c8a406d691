"""Modules beside DSPy's own: the same prompts, in the same order, and the same results."""

from __future__ import annotations

from typing import Any

import pytest

from tests.python.twins import Script, both, in_turn, ours


@pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")
def test_multi_chain_comparison() -> None:
    def program(d: Any) -> Any:
        tries = [d.Prediction(reasoning=f"try {i}\nmore", answer=f"{i}\nrest") for i in range(3)]
        compare = d.MultiChainComparison(d.Signature("question -> answer", "Compare."), M=3)
        return compare(tries, question="q").toDict()

    a, b = both(program, lambda: in_turn({"rationale": "all", "answer": "1"}))
    assert b == a


def test_a_comparison_of_another_number_is_refused() -> None:
    with ours(in_turn()) as side, pytest.raises(AssertionError, match="3 completions are compared"):
        side.d.MultiChainComparison("q -> a")([{"reasoning": "x", "a": "y"}], q="z")


def attempts() -> Script:
    return in_turn(*({"reasoning": "r", "answer": a} for a in ("long answer", "shorter", "a b c", "x")))


@pytest.mark.parametrize(("threshold", "calls"), [(1.0, 2), (2.0, 4), (0.0, 1)])
def test_best_of_n_in_dspys_order(threshold: float, calls: int) -> None:
    def program(d: Any) -> Any:
        best = d.BestOfN(
            d.ChainOfThought(d.Signature("question -> answer", "Answer.")), N=4,
            reward_fn=lambda args, pred: float(" " not in pred.answer), threshold=threshold,
        )  # fmt: skip
        return best(question="q").toDict()

    a, b = both(program, attempts)
    assert b == a
    assert len(b[1]) == calls


def test_best_of_n_together() -> None:
    with ours(attempts(), compat="") as side:
        best = side.d.BestOfN(
            side.d.ChainOfThought("question -> answer"), N=4, reward_fn=lambda args, pred: -len(pred.answer),
            threshold=0.0,
        )  # fmt: skip
        assert best(question="q").answer == "x"
    assert len(side.prompts) == 4
    assert all(p == side.prompts[0] for p in side.prompts)


def test_attempts_that_fail_count_as_none() -> None:
    def program(d: Any) -> Any:
        def reward(args: Any, pred: Any) -> float:
            if pred.answer == "bad":
                raise ValueError("no reward")
            return 0.5

        return d.BestOfN(d.Predict("q -> answer"), N=3, reward_fn=reward, threshold=0.5)(q="x").answer

    a, b = both(program, lambda: in_turn({"answer": "bad"}, {"answer": "good"}, {"answer": "late"}))
    assert b == a == ("good", a[1])
    with ours(in_turn(*[{"answer": "bad"}] * 3)) as side, pytest.raises(ValueError, match="no reward"):
        side.d.BestOfN(
            side.d.Predict("q -> answer"), N=3, fail_count=1, threshold=1.0,
            reward_fn=lambda args, pred: (_ for _ in ()).throw(ValueError("no reward")),
        )(q="x")  # fmt: skip


def test_parallel_and_batch() -> None:
    def script() -> Script:
        return lambda messages: {"a": messages[-1]["content"].split("\n")[1] + "!"}

    def program(d: Any) -> Any:
        p = d.Predict(d.Signature("q -> a", "Say it."))
        pairs = [(p, d.Example(q="1").with_inputs("q")), (p, {"q": "2"}), (p, {"q": "3"})]
        rows = [d.Example(q=str(i), a="?").with_inputs("q") for i in range(3)]
        return (
            [r.a for r in d.Parallel(num_threads=1, disable_progress_bar=True)(pairs)],
            [r.a for r in p.batch(rows, num_threads=1, disable_progress_bar=True)],
        )

    (their, their_prompts), (our, our_prompts) = both(program, script)
    assert our == their
    assert set(map(str, our_prompts)) == set(map(str, their_prompts))  # equal greedy calls are asked once


def test_parallel_gives_none_for_what_failed() -> None:
    with ours(lambda messages: 1 / 0 if "bad" in messages[-1]["content"] else {"a": "ok"}) as side:
        p = side.d.Predict("q -> a")
        pairs = [(p, {"q": "good"}), (p, {"q": "bad"})]
        done, failed, errors = side.d.Parallel(return_failed_examples=True)(pairs)
        assert [done[0].a, done[1], failed] == ["ok", None, [{"q": "bad"}]]
        assert "ZeroDivisionError" in str(errors[0])
        with pytest.raises(ValueError, match="an Example, a dict or a tuple"):
            side.d.Parallel(max_errors=1)([(p, 3)])


MAJORITY: list[tuple[Any, dict[str, Any]]] = [
    ([{"a": "x", "b": "The  Cat."}, {"a": "y", "b": "dog"}, {"a": "z", "b": "cat"}], {}),
    ([{"a": "x", "b": "one"}, {"a": "y", "b": "two"}], {}),
    ([{"a": "x", "b": ""}, {"a": "y", "b": "the"}, {"a": "z", "b": "dog"}], {}),
    ([{"a": "x", "b": ""}, {"a": "y", "b": ""}], {}),
    ([{"a": "x", "b": "1"}, {"a": "X", "b": "2"}, {"a": "y", "b": "3"}], {"field": "a"}),
    ([{"a": "x", "b": "1"}, {"a": "X", "b": "2"}, {"a": "X", "b": "3"}], {"field": "a", "normalize": None}),
    ([{"a": "x", "b": "Café"}, {"a": "X", "b": "Cafe\u0301"}], {}),
]


@pytest.mark.parametrize(("rows", "options"), MAJORITY)
def test_majority(rows: Any, options: dict[str, Any]) -> None:
    import dspy

    import lampc

    theirs_ = dspy.majority([dspy.Prediction(r) for r in rows], **options).toDict()
    assert lampc.majority([lampc.Prediction(r) for r in rows], **options).toDict() == theirs_
    columns = {k: [r[k] for r in rows] for k in rows[0]}
    assert lampc.majority(lampc.Prediction.from_completions(columns), **options).toDict() == theirs_


def test_n_answers_and_their_majority() -> None:
    def program(d: Any) -> Any:
        p = d.Predict(d.Signature("q -> a", "Say."), n=3)(q="x")
        return p.completions.a, d.majority(p).a

    a, b = both(program, lambda: in_turn({"a": "one"}, {"a": "Two"}, {"a": "two"}))
    assert b[0] == a[0] == (["one", "Two", "two"], "Two")
    assert b[1] == [a[1][0]] * 3


def test_knn() -> None:
    def program(d: Any) -> Any:
        from dspy.utils import DummyVectorizer

        rows = [d.Example(q=q, n=len(q), a=q).with_inputs("q", "n") for q in ("apple", "pear", "apply", "house")]
        near = d.KNN(2, rows, DummyVectorizer())
        return [e.a for e in near(q="apples", n=6)]

    a, b = both(program, lambda: in_turn())
    assert b == a


def test_refine_together_keeps_the_prefix() -> None:
    answers = ["far too long", "long too", "short", "also long"]
    script = [{"a": answers[0]}, {"discussion": "d", "advice": {"self": "be brief"}}, *({"a": a} for a in answers[1:])]
    with ours(in_turn(*script), compat="") as side:
        refine = side.d.Refine(side.d.Predict("q -> a"), N=4, reward_fn=brief, threshold=1.0)
        assert refine(q="question?").a == "short"
    first, advice, *others = side.prompts
    assert "discussion" in advice[0]["content"]
    assert len(others) == 3
    reminder = "\n\nRespond with"
    for prompt in others:
        assert prompt[0] == first[0]
        assert prompt[1]["content"].split("\n\n[[ ## hint_")[0] == first[1]["content"].split(reminder)[0]
        assert "[[ ## hint_ ## ]]\nbe brief" in prompt[1]["content"]


def brief(args: dict[str, Any], pred: Any) -> float:
    return float(len(pred.a) < 6)


def test_only_the_chosen_attempt_is_traced() -> None:
    def program(d: Any) -> Any:
        best = d.BestOfN(d.Predict(d.Signature("q -> a", "Say.")), N=3, reward_fn=brief, threshold=1.0)
        with d.context(trace=[]):
            best(q="x")
            return [(dict(inputs), dict(outputs.items())) for _, inputs, outputs in d.settings.trace]

    script = [{"a": "far too long"}, {"a": "also too long"}, {"a": "short"}]
    a, b = both(program, lambda: in_turn(*script))
    assert b[0] == a[0] == [({"q": "x"}, {"a": "short"})]
    with ours(in_turn(*script), compat="") as side:
        assert program(side.d) == a[0]


@pytest.mark.parametrize("kind", ["field", "type"])
def test_another_rationale(kind: str) -> None:
    def program(d: Any) -> Any:
        sig = d.Signature("q -> a", "Say.")
        if kind == "type":
            return d.ChainOfThought(sig, rationale_field_type=list[str])(q="x").toDict()
        return d.ChainOfThought(sig, rationale_field=d.OutputField(desc="step by step"))(q="x").toDict()

    reasoning: Any = ["one", "two"] if kind == "type" else "because"
    a, b = both(program, lambda: in_turn({"reasoning": reasoning, "a": "y"}))
    assert b == a


def test_another_model_for_one_call() -> None:
    from lampc.runtime.scripted import DummyLM

    with ours(lambda messages: {"a": "usual"}) as side:
        p = side.d.Predict("q -> a")
        other = DummyLM(lambda messages: {"a": "other"})
        assert [p(q="x").a, p(q="x", lm=other).a, p(q="y").a] == ["usual", "other", "usual"]
        p.set_lm(other)
        assert p(q="z").a == "other"
        assert p.get_lm() is other
