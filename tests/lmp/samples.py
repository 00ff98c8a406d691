"""Programs that use all of the language, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.lmp"))

EVERYTHING = '''
# everything at once
model main = engine("firefly");
model big = endpoint("http://localhost:1/v1", name: "big");
retriever wiki = bm25("corpus.jsonl", k: 2);
type Route = "math" | "lookup";
type Passage { title: str; text: str?; }   # trailing
tool calc(expr: str) -> float @pure = python("tools:calc");
tool mail(to: str) -> none = python("tools:mail");
function shorten(...) -> any @unordered = python("tools:shorten") @source("abc");
function length(text: str, most: int) -> int @pure = python("tools:length");

signature Query(question: str, notes: list[str]) -> (query: str @max(32), route: Route) {
  """
  Write one search query
    for the fact that is "missing".
  """
  field question "what is asked";
  field query "words" @constraints("at most five");
  demo (question: "q", notes: ["a", "b"], query: "x", route: "math");
  demo (question: "r", query: "y", route: "lookup") @augmented;
}
signature Answer(context: list[str], question: str) -> (answer: str @max(24)) { }
signature Plain(text: str) -> (score: float, tags: list[str]?) { "" }

module Inner(question: str) -> (answer: str) {
  """Reads."""
  use read = ChainOfThought(Answer) @layout(chat) @sample(temperature: 0.5) @model(big) @frozen(instruction, demos);
  tune depth: int = 2 in [1, 2];
  return (answer: read(context: wiki(question, k: depth), question: question).answer);
}

module MultiHop(question: str, hints: list[Passage], limit: int?) -> (answer: str, hops: int) {
  use ask = Predict(Query) @frozen;
  use inner = Inner();
  use other = Inner();
  use score = Predict(Plain);
  tune k: int = 4 in [2, 4, 8];

  # a comment of its own

  loop (notes: [], n as rounds: 0) max 3 as i {   # opening
    let q = ask(question: question, notes: notes);
    let found = wiki(q.query, k: k);
    let out = inner(question: question);
    next (notes: notes + [out.answer] + found, n: n + 1 + i)
      until out.answer != "unknown" and q.route == "math";
  }
  let a, h = match q.route {
    # before a case
    "math" => { yield str(calc(out.answer)), 1; }
    "lookup" => { let x = other(question: out.answer); yield x.answer, rounds; }
  };
  let ls = ask(question: question, notes: hints.title) @sample(n: 3, temperature: 0.7, stop: ["\\n"]);
  let v = vote(ls.route);
  let kept = map r, j in ls { if r.route == v and j >= 0 { yield shorten(r.query, n: 3); } };
  let plain = map r in kept { if length(str(r), 8) > 2 { yield r; } };
  let best = argmax(map r in ls { yield score(text: r.query).score; });
  let typed: list[str] = [];
  let word = if len(plain) > best then ls[best].query else ls[-1].query[1:];
  if rounds > 2 { mail("someone"); } else { assert a != "", "empty"; }
  if len(kept) > 3 { return (answer: "none", hops: 0); }
  let m = coalesce(limit, -2 ** 2 * 3 - (1 - 2) // 4) % 7;
  let w = match m { 1 => word; -2 => "minus"; _ => join(" ", typed + ["a"]); };
  let z = not (m in [1, 2] or a == w) and (if a == "x" then true else false);
  return (answer: if z then "y" else concat(a, w, best), hops: h);
}

dataset d: (question: str, hints: list[Passage], limit: int?, answer: str) = jsonl("x.jsonl", train: 6, dev: 2k, seed: 7
);
metric em(gold: str, pred: str) -> float @fields(answer, answer) = {
  let a = lower(gold); let b = lower(pred);   # two
  if a == b and len(a) > 0 and len(b) > 0 then 1.0 else 0.0
};
metric outside(gold: any, pred: any) -> float = python("metrics:score");
optimize MultiHop with labeled(k: 2), bootstrap(max_bootstrapped_demos: 4), instructions(pool: "pool.txt")
  on d.train select d.dev by em budget (tokens: 2M, time: 900s) save "x.lampc" resume "runs/x";
test "t" {
  mock ask => (query: "x", route: "math");
  mock inner.read => (answer: "Paris");
  mock other.read => (answer: "Rome", reasoning: "because");
  mock score => (score: 1, tags: null);
  mock wiki => ["a"];
  mock calc => 3.5;
  run MultiHop(question: "What?", hints: [(title: "t", text: "x")], limit: 3);
  expect answer == "Paris" and hops == 1;
  expect stats.calls <= 5 and "calc" in stats.tools;
}
# the end
'''
