"""Families in which calls go on from calls: conversations, thoughts, judges, summaries."""

from __future__ import annotations

from program_bench.script import Rule
from program_bench.workload import Size, Workload


def chat(size: Size) -> Workload:
    """Conversations of four turns, each shown all that was said before."""
    source = f"""signature Reply(talk: list[str], message: str) -> (reply: str) {{
  \"\"\"{size.text(300, "chat")}\"\"\"
}}
module Main(messages: list[str]) -> (talk: list[str]) {{
  use say = Predict(Reply);
  loop (talk: []) max 4 as i {{
    let said = say(talk: talk, message: messages[i]);
    next (talk: talk + [messages[i], said.reply]) until i >= len(messages) - 1;
  }}
  return (talk: talk);
}}
"""
    rows = [{"messages": [size.near(300, "turn", i, j) for j in range(4)]} for i in range(size.count(16))]
    rules = {"say": Rule({"": size.n(200)})}
    return Workload("chat", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def tree_of_thought(size: Size) -> Workload:
    """Three thoughts from each state, two levels deep; each thought is rated, the best of a level goes on."""
    source = f"""signature Think(problem: str, path: list[str]) -> (thought: str) {{
  \"\"\"{size.text(400, "think")}\"\"\"
}}
signature Rate(problem: str, path: list[str], thought: str) -> (value: int) {{
  \"\"\"{size.text(300, "rate")}\"\"\"
}}
signature Solve(problem: str, path: list[str]) -> (answer: str) {{
  \"\"\"{size.text(200, "conclude")}\"\"\"
}}
module Main(problem: str) -> (answer: str) {{
  use think = Predict(Think);
  use rate = Predict(Rate);
  use solve = Predict(Solve);
  loop (path: []) max 2 as level {{
    let thoughts = think(problem: problem, path: path) @sample(n: 3, temperature: 0.8);
    let values = map t in thoughts {{
      let rated = rate(problem: problem, path: path, thought: t.thought);
      yield rated.value;
    }};
    let chosen = thoughts[argmax(values)];
    next (path: path + [chosen.thought]) until level >= 1;
  }}
  let done = solve(problem: problem, path: path);
  return (answer: done.answer);
}}
"""
    rows = [{"problem": size.near(300, "tot", i)} for i in range(size.count(10))]
    rules = {"think": Rule({"": size.n(150)}), "solve": Rule({"": size.n(80)}), "rate": Rule()}
    return Workload("tree_of_thought", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def skeleton(size: Size) -> Workload:
    """An outline of points, and each point written out for itself."""
    source = f"""signature Outline(topic: str) -> (points: list[str]) {{
  \"\"\"{size.text(200, "outline")}\"\"\"
}}
signature Expand(topic: str, outline: list[str], point: str) -> (text: str) {{
  \"\"\"{size.text(200, "expand")}\"\"\"
}}
module Main(topic: str) -> (texts: list[str]) {{
  use outline = Predict(Outline);
  use expand = Predict(Expand);
  let made = outline(topic: topic);
  let texts = map p in made.points {{
    let text = expand(topic: topic, outline: made.points, point: p);
    yield text.text;
  }};
  return (texts: texts);
}}
"""
    rows = [{"topic": size.near(200, "topic", i)} for i in range(size.count(12))]
    rules = {"outline": Rule({"": size.n(20)}, items=(5, 9)), "expand": Rule({"": size.n(120)})}
    return Workload("skeleton", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def judge(size: Size) -> Workload:
    """Branch, solve, merge: an essay is judged in five respects, and the judgements are merged."""
    source = f"""signature Judge(essay: str, respect: str) -> (remark: str, grade: int) {{
  \"\"\"{size.text(200, "judge")}\"\"\"
}}
signature Merge(essay: str, remarks: list[str]) -> (verdict: str, grade: int) {{
  \"\"\"{size.text(200, "merge")}\"\"\"
}}
module Main(essay: str, respects: list[str]) -> (verdict: str, grade: int) {{
  use judge = Predict(Judge);
  use merge = Predict(Merge);
  let remarks = map r in respects {{
    let said = judge(essay: essay, respect: r);
    yield said.remark;
  }};
  let merged = merge(essay: essay, remarks: remarks);
  return (verdict: merged.verdict, grade: merged.grade);
}}
"""
    respects = [size.text(16, "respect", i) for i in range(5)]
    rows = [{"essay": size.near(1200, "essay", i), "respects": respects} for i in range(size.count(12))]
    rules = {"judge": Rule({"": size.n(120)}), "merge": Rule({"": size.n(150)})}
    return Workload("judge", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def chain_summary(size: Size) -> Workload:
    """A summary that is carried on from chunk to chunk: strictly one after another."""
    source = f"""signature Refine(chunk: str, known: str) -> (summary: str) {{
  \"\"\"{size.text(150, "refine")}\"\"\"
}}
module Main(chunks: list[str]) -> (summary: str) {{
  use refine = Predict(Refine);
  loop (text: "none") max 12 as i {{
    let made = refine(chunk: chunks[i], known: text);
    let summary = made.summary;
    next (text: summary) until i >= len(chunks) - 1;
  }}
  return (summary: text);
}}
"""
    rows = [{"chunks": [size.near(600, "chunk", i, j) for j in range(10)]} for i in range(size.count(6))]
    rules = {"refine": Rule({"": size.n(120)})}
    return Workload("chain_summary", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def map_reduce(size: Size) -> Workload:
    """Chunks are summed up side by side, the summaries once more."""
    source = f"""signature Sum(chunk: str) -> (summary: str) {{
  \"\"\"{size.text(150, "sum")}\"\"\"
}}
signature Join(summaries: list[str]) -> (summary: str) {{
  \"\"\"{size.text(150, "join")}\"\"\"
}}
module Main(chunks: list[str]) -> (summary: str) {{
  use sum = Predict(Sum);
  use join = Predict(Join);
  let parts = map c in chunks {{
    let made = sum(chunk: c);
    yield made.summary;
  }};
  let whole = join(summaries: parts);
  return (summary: whole.summary);
}}
"""
    rows = [{"chunks": [size.near(600, "part", i, j) for j in range(12)]} for i in range(size.count(5))]
    rules = {"sum": Rule({"": size.n(80)}), "join": Rule({"": size.n(150)})}
    return Workload("map_reduce", "mixed", source, tuple(rows), rules, size.seed, size.scale)
