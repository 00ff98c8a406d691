"""Families of many independent rows: few shots, system prompts, extraction, retrieval, tables, snippets, trials."""

from __future__ import annotations

from typing import Any

from program_bench.script import Rule
from program_bench.text import generator, zipf
from program_bench.workload import Size, Workload


def few_shot(size: Size) -> Workload:
    """Multiple choice after worked examples (MMLU with five, HellaSwag with twenty): a trunk of 1-2k tokens, short
    questions, an answer out of four. One question in eight was asked before."""
    demos = "\n".join(f'  demo (question: "{size.near(180, "shot", i)}", answer: "{"abcd"[i % 4]}");' for i in range(8))
    source = f"""signature Answer(question: str) -> (answer: "a" | "b" | "c" | "d") {{
  \"\"\"{size.text(120, "few_shot")}\"\"\"
{demos}
}}
module Main(question: str) -> (answer: str) {{
  use ask = Predict(Answer);
  let found = ask(question: question);
  return (answer: found.answer);
}}
"""
    asked = range(size.count(96))
    rows = [{"question": size.near(100, "question", i if i % 8 else i // 2)} for i in asked]
    rules = {"ask": Rule()}
    return Workload("few_shot", "closed_sets", source, tuple(rows), rules, size.seed, size.scale)


def triage(size: Size) -> Workload:
    """Messages to a help desk are sorted by labels of several words and truth values, in DSPy's own layout."""
    teams = ("billing, refunds", "billing, invoices", "technical, login", "technical, crashes", "sales", "nobody")
    options = " | ".join(f'"{team}"' for team in teams)
    source = f"""signature Sort(message: str) -> (team: {options}, urgent: bool, tone: "calm" | "very calm" | "angry", known: bool) {{
  \"\"\"{size.text(400, "triage")}\"\"\"
}}
module Main(message: str) -> (team: str, urgent: bool) {{
  use sort = Predict(Sort) @layout(chat);
  let found = sort(message: message);
  return (team: found.team, urgent: found.urgent);
}}
"""  # noqa: E501
    rows = tuple({"message": size.near(60, "message", i)} for i in range(size.count(96)))
    return Workload("triage", "closed_sets", source, rows, {"sort": Rule()}, size.seed, size.scale)


def system_prompt(size: Size) -> Workload:
    """A copilot's system prompt of 4-6k tokens, thousands of users with 20-200 tokens each."""
    source = f"""signature Reply(message: str) -> (reply: str) {{
  \"\"\"{size.text(5000, "system")}\"\"\"
}}
module Main(message: str) -> (reply: str) {{
  use say = Predict(Reply);
  let said = say(message: message);
  return (reply: said.reply);
}}
"""
    rows = [{"message": size.near(100, "user", i)} for i in range(size.count(64))]
    rules = {"say": Rule({"": size.n(100)})}
    return Workload("system_prompt", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def json_extraction(size: Size) -> Workload:
    """Records out of documents, written as JSON: most of an answer's tokens are the schema's."""
    source = f"""type Level = "low" | "medium" | "high";
type Entity {{ name: str; kind: "person" | "place" | "firm"; sure: bool; }}
signature Extract(document: str) -> (title: str, level: Level, urgent: bool, year: int, entities: list[Entity]) {{
  \"\"\"{size.text(150, "extract")}\"\"\"
}}
module Main(document: str) -> (title: str, level: str, urgent: bool, year: int, entities: list[Entity]) {{
  use extract = Predict(Extract) @layout(json);
  let found = extract(document: document);
  return (
    title: found.title, level: found.level, urgent: found.urgent, year: found.year, entities: found.entities
  );
}}
"""
    rows = [{"document": size.near(600, "document", i)} for i in range(size.count(40))]
    rules = {"extract": Rule({"title": 4, "": 2}, items=(2, 3))}
    return Workload("json", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def rag(size: Size) -> Workload:
    """Questions over retrieved passages that come back by Zipf's law, in the order of their rank for each question."""
    draw = generator("rag", size.seed)
    source = f"""signature Answer(passages: list[str], question: str) -> (answer: str) {{
  \"\"\"{size.text(100, "rag")}\"\"\"
}}
module Main(passages: list[str], question: str) -> (answer: str) {{
  use read = Predict(Answer);
  let found = read(passages: passages, question: question);
  return (answer: found.answer);
}}
"""
    documents = [size.near(600, "passage", i) for i in range(40)]
    rows = []
    for i in range(size.count(48)):
        chosen: list[int] = []
        while len(chosen) < 4:
            number = zipf(len(documents), draw)
            if number not in chosen:
                chosen.append(number)
        rows.append({"passages": [documents[n] for n in chosen], "question": size.near(40, "asked", i)})
    rules = {"read": Rule({"": size.n(120)})}
    return Workload("rag", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def _table(size: Size, count: int) -> list[dict[str, Any]]:
    """Rows with functional dependencies (a product decides maker, country and description) and one in eight twice.

    The column that differs in each row stands before the ones that repeat, as tables tend to have it.
    """
    draw = generator("table", size.seed)
    rows: list[dict[str, Any]] = []
    for i in range(count):
        if rows and draw.random() < 0.125:
            rows.append(dict(draw.choice(rows)))
            continue
        product = zipf(12, draw, 0.8)
        maker = product % 5
        rows.append(
            {
                "review": size.near(120, "review", i),
                "product": size.text(24, "product", product),
                "maker": size.text(16, "maker", maker),
                "country": size.text(8, "country", maker % 3),
                "description": size.text(600, "description", product),
            }
        )
    return rows


_COLUMNS = "review: str, product: str, maker: str, country: str, description: str"
_GIVEN = "review: review, product: product, maker: maker, country: country, description: description"


def table_filter(size: Size) -> Workload:
    """A closed question about each row of a table (LOTUS' sem_filter, GGR's filter queries)."""
    source = f"""signature Keep({_COLUMNS}) -> (keep: bool) {{
  \"\"\"{size.text(200, "filter")}\"\"\"
}}
module Main({_COLUMNS}) -> (keep: bool) {{
  use keep = Predict(Keep);
  let verdict = keep({_GIVEN});
  return (keep: verdict.keep);
}}
"""
    rules = {"keep": Rule(chances={"keep": 0.3})}
    rows = tuple(_table(size, size.count(96)))
    return Workload("table_filter", "closed_sets", source, rows, rules, size.seed, size.scale)


def table_project(size: Size) -> Workload:
    """A filter over a table, and a text for each row that is kept (GGR's multi-LLM queries)."""
    source = f"""signature Keep({_COLUMNS}) -> (keep: bool) {{
  \"\"\"{size.text(200, "filter")}\"\"\"
}}
signature Sum({_COLUMNS}) -> (summary: str) {{
  \"\"\"{size.text(200, "project")}\"\"\"
}}
module Main({_COLUMNS}) -> (summary: str) {{
  use keep = Predict(Keep);
  use sum = Predict(Sum);
  let verdict = keep({_GIVEN});
  let text = if verdict.keep {{
    let made = sum({_GIVEN});
    yield made.summary;
  }} else {{
    yield "";
  }};
  return (summary: text);
}}
"""
    rules = {"keep": Rule(chances={"keep": 0.6}), "sum": Rule({"": size.n(100)})}
    rows = tuple(_table(size, size.count(64)))
    return Workload("table_project", "tables", source, rows, rules, size.seed, size.scale)


def snippets(size: Size) -> Workload:
    """Offline generation over documents: one trunk for all, a document of 1-4k tokens for 2-20 requests each."""
    draw = generator("snippets", size.seed)
    source = f"""signature Write(document: str, wish: str) -> (snippet: str) {{
  \"\"\"{size.text(400, "snippet")}\"\"\"
}}
module Main(document: str, wish: str) -> (snippet: str) {{
  use write = Predict(Write);
  let made = write(document: document, wish: wish);
  return (snippet: made.snippet);
}}
"""
    rows = []
    for i in range(size.count(10)):
        document = size.near(1600, "source", i)
        rows += [{"document": document, "wish": size.near(60, "wish", i, j)} for j in range(draw.randint(2, 10))]
    draw.shuffle(rows)
    rules = {"write": Rule({"": size.n(120)})}
    return Workload("snippets", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def trials(size: Size) -> Workload:
    """An optimizer's trials: each a choice of instruction and demos for two predictors, on a minibatch of the rows."""
    draw = generator("trials", size.seed)
    source = f"""signature Query(question: str) -> (query: str) {{
  \"\"\"{size.text(180, "instruction", "query", 0)}\"\"\"
}}
signature Answer(context: str, question: str) -> (answer: str) {{
  \"\"\"{size.text(180, "instruction", "answer", 0)}\"\"\"
}}
module Main(context: str, question: str) -> (answer: str) {{
  use query = Predict(Query);
  use answer = Predict(Answer);
  let asked = query(question: question);
  let found = answer(context: context + " " + asked.query, question: question);
  return (answer: found.answer);
}}
"""
    count = size.count(24)
    rows = [{"context": size.near(800, "context", i), "question": size.near(60, "ask", i)} for i in range(count)]
    queries = [
        [{"question": size.near(60, "dq", k, i), "query": size.near(20, "da", k, i)} for i in range(4)]
        for k in range(4)
    ]
    answers = [
        [
            {
                "context": size.near(160, "dc", k, i),
                "question": size.near(60, "dp", k, i),
                "answer": size.near(20, "dz", k, i),
            }
            for i in range(4)
        ]
        for k in range(4)
    ]
    candidates, picked = [], []
    for _ in range(12):
        candidates.append(
            {
                "query.instruction": size.text(180, "instruction", "query", draw.randrange(4)),
                "answer.instruction": size.text(180, "instruction", "answer", draw.randrange(4)),
                "query.demos": draw.choice(queries),
                "answer.demos": draw.choice(answers),
            }
        )
        picked.append(tuple(sorted(draw.sample(range(count), max(2, count // 2)))))
    rules = {"query": Rule({"": size.n(60)}), "answer": Rule({"": size.n(60)})}
    return Workload(
        "trials", "trials", source, tuple(rows), rules, size.seed, size.scale, tuple(candidates), tuple(picked)
    )


def instructions(size: Size) -> Workload:
    """An optimizer that tries instructions alone (COPRO, GEPA, MIPROv2 without demos) for answers over retrieved
    passages: twelve of them, each on half of the rows."""
    asked = rag(size)
    draw = generator("instructions", size.seed)
    rows = asked.rows[: size.count(24)]
    candidates = tuple({"read.instruction": size.text(180, "instruction", "read", i)} for i in range(12))
    picked = tuple(tuple(sorted(draw.sample(range(len(rows)), max(2, len(rows) // 2)))) for _ in candidates)
    rules = {"read": Rule({"": size.n(60)})}
    return Workload("instructions", "trials", asked.source, rows, rules, size.seed, size.scale, candidates, picked)


def vote(size: Size) -> Workload:
    """Self-consistency: eight samples of a chain of thought, the most frequent answer counts."""
    source = f"""signature Solve(problem: str) -> (answer: "a" | "b" | "c" | "d" | "e") {{
  \"\"\"{size.text(500, "solve")}\"\"\"
}}
module Main(problem: str) -> (answer: str) {{
  use solve = ChainOfThought(Solve);
  let drawn = solve(problem: problem) @sample(n: 8, temperature: 0.7);
  let most = vote(drawn.answer);
  return (answer: most);
}}
"""
    rows = [{"problem": size.near(200, "problem", i)} for i in range(size.count(10))]
    chances = {"a": 0.6, "b": 0.2, "c": 0.1, "d": 0.05, "e": 0.05}
    rules = {"solve": Rule({"": size.n(160)}, {"answer": chances})}
    return Workload("vote", "mixed", source, tuple(rows), rules, size.seed, size.scale)
