"""`lampc explain` of endpoints: their prompt cache, the order that loses of it, the price, and the actuals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lampc.ir.adapters import bind_predictors
from lampc.runtime.endpoint_plan import cached, endpoint_plan, sent_as
from lampc.runtime.estimate import NodeEstimate
from lampc.runtime.providers.prices import Price
from lampc.runtime.providers.rules import Rules, rules_for
from tests.cli.conftest import Result
from tests.runtime.programs import CALL
from tests.runtime.standin import Provider

Lampc = Callable[..., Result]
GUIDE = "Every question is about the trains of the north. " * 40
SOURCE = '''
model main = endpoint("URL", model: "m", prompt_cache: "deepseek");
signature Ask(question: str, guide: str) -> (answer: str) { """Answer the question by the guide.""" }
module Help(question: str, guide: str) -> (answer: str) {
  use ask = Predict(Ask) @layout(chat);
  let r = ask(question: question, guide: guide);
  return (answer: r.answer);
}
'''


def answer(messages: list[dict[str, Any]]) -> str:
    return "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1].replace(",", ""))


def test_the_plan_tells_what_the_cache_gives_and_what_the_order_loses(lampc: Lampc, folder: Path) -> None:
    rows = "".join(json.dumps({"question": f"Number {i}, when?", "guide": GUIDE}) + "\n" for i in range(12))
    (folder / "rows.jsonl").write_text(rows)
    with Provider(answer, minimum=64, step=64) as server:
        (folder / "help.lmp").write_text(SOURCE.replace("URL", server.url))
        said = lampc("explain", "help.lmp", "--data", "rows.jsonl", "--price", "1000,0").out
        assert "deepseek: automatic prompt cache from 64 tokens in steps of 64" in said
        assert "rules as of" in said
        whole = number(r"prompt cache expected: [\d,]+ of ([\d,]+)", said)
        given = number(r"prompt cache expected: ([\d,]+)", said)
        gain = number(r"the cache gives ([\d,]+) prompt tokens more", said)
        assert "`chat[instruction,demos,guide,question]`" in said
        assert given + gain > 0.8 * whole
        assert number(r"price expected: ([\d.]+)", said) == pytest.approx(whole / 1000, rel=1e-3)
        paid = number(r"or ([\d.]+) with its prompt cache", said)
        assert paid == pytest.approx((whole - given + 0.1 * given) / 1000, rel=1e-3)
        done = lampc("explain", "help.lmp", "--data", "rows.jsonl", "--analyze").out
        actual = number(r"prompt cache gave: ([\d,]+)", done)
        assert actual == pytest.approx(given, rel=0.25)
        moved = SOURCE.replace('by the guide."""', 'by the guide.""" layout guide, question;')
        (folder / "help.lmp").write_text(moved.replace("URL", server.url))
        done = lampc("explain", "help.lmp", "--data", "rows.jsonl", "--analyze").out
        assert number(r"prompt cache gave: ([\d,]+)", done) == pytest.approx(given + gain, rel=0.1)
        assert "prompt tokens more" not in done


TWO = (
    SOURCE.replace("signature Ask", "model other = OTHER;\nsignature Ask")
    .replace(
        """  return (answer: r.answer);""",
        """  use check = Predict(Check) @layout(chat) @model(other);
  let s = check(question: question, answer: r.answer);
  return (answer: s.verdict);""",
    )
    .replace(
        "module Help",
        'signature Check(question: str, answer: str) -> (verdict: "yes" | "no") { """Is it right?""" }\nmodule Help',
    )
)


def verdict(messages: list[dict[str, Any]]) -> str:
    return "[[ ## verdict ## ]]\nyes\n\n[[ ## completed ## ]]"


def test_each_endpoint_is_told_its_own_actuals(lampc: Lampc, folder: Path) -> None:
    rows = "".join(json.dumps({"question": f"Number {i}, when?", "guide": GUIDE}) + "\n" for i in range(6))
    (folder / "rows.jsonl").write_text(rows)
    with Provider(answer, minimum=64, step=64) as one, Provider(verdict, minimum=64, step=64) as two:
        other = f'endpoint("{two.url}", model: "n", prompt_cache: "deepseek")'
        (folder / "two.lmp").write_text(TWO.replace("OTHER", other).replace("URL", one.url))
        said = lampc("explain", "two.lmp", "--data", "rows.jsonl", "--analyze").out
    gave = dict(re.findall(r"`(\w+)`: prompt cache gave: [\d,]+ of ([\d,]+) prompt tokens", said))
    table = dict(re.findall(r"^(ask|check) .*?6 +- +6 +[\d,]+ +([\d,]+)", said, re.MULTILINE))
    assert gave == {"main": table["ask"], "other": table["check"]}, said


def test_what_models_here_do_is_kept_apart_from_endpoints(lampc: Lampc, folder: Path) -> None:
    rows = "".join(json.dumps({"question": f"Number {i}, when?", "guide": GUIDE}) + "\n" for i in range(6))
    (folder / "rows.jsonl").write_text(rows)
    with Provider(answer, minimum=64, step=64) as server:
        (folder / "mixed.lmp").write_text(TWO.replace("OTHER", 'engine("firefly")').replace("URL", server.url))
        said = lampc("explain", "mixed.lmp", "--data", "rows.jsonl", "--analyze", "--price", "1000,0").out
    sent = number(r"prompt cache gave: [\d,]+ of ([\d,]+)", said)
    asked, computed = (
        [float(n.replace(",", "")) for n in found]
        for found in (
            re.findall(r"^ask .*?6 +- +6 +[\d,]+ +([\d,]+)", said, re.MULTILINE),
            re.findall(r"^check .*?6 +- +6 +[\d,]+ +[\d,]+ +- +([\d,]+)", said, re.MULTILINE),
        )
    )
    assert asked == [sent], said
    assert re.search(r"^ask .* \? +E$", said, re.MULTILINE), said
    assert number(r"computed ([\d,]+) prompt tokens; the prefix tree needs", said) == computed[0]
    assert number(r"price of the run: ([\d.]+)", said) <= sent / 1000
    expected = number(r"^ask +6 +6 +- +6 +([\d,]+)", said[said.index("\nask ") + 1 :])
    assert number(r"price expected: ([\d.]+)", said) == pytest.approx(expected / 1000, rel=1e-3)


def test_a_plain_endpoint_has_no_cache_and_one_with_batches_is_cheaper() -> None:
    bound = bind_predictors(CALL)["p"]
    node = NodeEstimate("p", sent=[sent_as(bound, [f"text {i} " * 200]) for i in range(4)])
    plain = endpoint_plan([node], Rules())
    assert plain.lines() == ["endpoint none: it is not known to have a prompt cache"]
    assert plain.cached.reused == 0
    assert plain.cost(Price(1.0, 0.0), 0) == pytest.approx(plain.cached.prompt / 1e6)


def test_breakpoints_cost_what_they_keep() -> None:
    bound = bind_predictors(CALL)["p"]
    rules = rules_for("", said={"like": "anthropic", "minimum": 4})
    sent = [sent_as(bound, [f"text {i}"]) for i in range(3)]
    found = cached(sent, rules)
    (end,) = {s.ends[0] for s in sent}
    assert (found.kept, found.reused) == (end, 2 * end)
    assert cached(sent[:1], rules).kept == 0  # asked once, it is not kept
    price = Price(1e6, 0.0)
    paid = endpoint_plan([NodeEstimate("p", sent=sent)], rules).cost(price, 0)
    assert paid == pytest.approx(found.prompt - found.reused + 0.1 * found.reused + 0.25 * found.kept)
