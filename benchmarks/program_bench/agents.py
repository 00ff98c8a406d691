"""Families of agents: tools with gaps, teams, debates, and the trading workflow of 88 calls."""

from __future__ import annotations

from program_bench.script import Rule
from program_bench.workload import Size, Workload


def react(size: Size) -> Workload:
    """An agent that thinks, calls a tool and reads what it gives, three to eight times, on a trunk of 1-2k tokens."""
    source = f"""tool search(query: str) -> str @pure = python("program_bench.tools:search");
tool calculate(expression: str) -> str @pure = python("program_bench.tools:calculate");
tool send(message: str) -> str = python("program_bench.tools:send");
signature Act(question: str, steps: list[str]) -> (thought: str, tool: "search" | "calculate" | "finish", text: str) {{
  \"\"\"{size.text(1500, "act")}\"\"\"
}}
module Main(question: str) -> (answer: str, steps: list[str]) {{
  use act = Predict(Act);
  loop (steps: [], answer: "") max 8 {{
    let turn = act(question: question, steps: steps);
    let seen = match turn.tool {{
      "search" => search(turn.text);
      "calculate" => calculate(turn.text);
      "finish" => turn.text;
    }};
    next (steps: steps + [turn.thought + " " + turn.text, seen], answer: turn.text) until turn.tool == "finish";
  }}
  let sent = send(answer);
  return (answer: answer + " " + sent, steps: steps);
}}
"""
    rows = [{"question": size.near(100, "task", i)} for i in range(size.count(16))]
    rule = Rule({"thought": size.n(120), "": size.n(30)}, {"tool": {"search": 0.5, "calculate": 0.25, "finish": 0.25}})
    return Workload(
        "react", "mixed", source, tuple(rows), {"act": rule}, size.seed, size.scale, latency=0.25 * size.scale
    )


def coding(size: Size) -> Workload:
    """A team writes a project: one plan, a file for each of its points, two rounds of review and revision."""
    source = f"""signature Plan(wish: str) -> (plan: str, files: list[str]) {{
  \"\"\"{size.text(300, "plan")}\"\"\"
}}
signature Write(wish: str, plan: str, file: str) -> (code: str) {{
  \"\"\"{size.text(300, "write")}\"\"\"
}}
signature Review(wish: str, plan: str, code: str) -> (remarks: str) {{
  \"\"\"{size.text(300, "review")}\"\"\"
}}
signature Revise(wish: str, plan: str, draft: str, remarks: str) -> (code: str) {{
  \"\"\"{size.text(300, "revise")}\"\"\"
}}
module Main(wish: str) -> (codes: list[str]) {{
  use plan = Predict(Plan);
  use write = Predict(Write);
  use review = Predict(Review);
  use revise = Predict(Revise);
  let made = plan(wish: wish);
  let codes = map f in made.files {{
    let first = write(wish: wish, plan: made.plan, file: f);
    loop (code: first.code) max 2 as i {{
      let seen = review(wish: wish, plan: made.plan, code: code);
      let better = revise(wish: wish, plan: made.plan, draft: code, remarks: seen.remarks);
      let fresh = better.code;
      next (code: fresh) until i >= 1;
    }}
    yield code;
  }};
  return (codes: codes);
}}
"""
    rows = [{"wish": size.near(800, "wish", i)} for i in range(size.count(4))]
    rules = {
        "plan": Rule({"plan": size.n(200), "files": 3}, items=(3, 5)),
        "write": Rule({"": size.n(240)}),
        "review": Rule({"": size.n(100)}),
        "revise": Rule({"": size.n(240)}),
    }
    return Workload("coding", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def debate(size: Size) -> Workload:
    """Three agents argue for two rounds over a context, each having read all of the round before; one concludes."""
    source = f"""signature Argue(context: str, question: str, said: list[str], role: str) -> (argument: str) {{
  \"\"\"{size.text(250, "argue")}\"\"\"
}}
signature Conclude(context: str, question: str, said: list[str]) -> (answer: str) {{
  \"\"\"{size.text(250, "conclude debate")}\"\"\"
}}
module Main(context: str, question: str, roles: list[str]) -> (answer: str) {{
  use argue = Predict(Argue);
  use conclude = Predict(Conclude);
  loop (said: []) max 2 as i {{
    let fresh = map r in roles {{
      let word = argue(context: context, question: question, said: said, role: r);
      yield word.argument;
    }};
    next (said: said + fresh) until i >= 1;
  }}
  let found = conclude(context: context, question: question, said: said);
  return (answer: found.answer);
}}
"""
    roles = [size.text(40, "role", i) for i in range(3)]
    contexts = [size.near(900, "debated", i) for i in range(4)]
    rows = [
        {"context": contexts[i % 4], "question": size.near(60, "debate", i), "roles": roles}
        for i in range(size.count(12))
    ]
    rules = {"argue": Rule({"": size.n(150)}), "conclude": Rule({"": size.n(100)})}
    return Workload("debate", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def reflection(size: Size) -> Workload:
    """A draft, two critics, a better draft; once more if a critic asks for it."""
    source = f"""signature Draft(task: str) -> (draft: str) {{
  \"\"\"{size.text(250, "draft")}\"\"\"
}}
signature Criticise(task: str, draft: str, view: str) -> (remarks: str, enough: bool) {{
  \"\"\"{size.text(250, "criticise")}\"\"\"
}}
signature Improve(task: str, old: str, remarks: list[str]) -> (draft: str) {{
  \"\"\"{size.text(250, "improve")}\"\"\"
}}
module Main(task: str, views: list[str]) -> (draft: str) {{
  use write = Predict(Draft);
  use criticise = Predict(Criticise);
  use improve = Predict(Improve);
  let first = write(task: task);
  loop (draft: first.draft) max 3 {{
    let seen = map v in views {{
      let c = criticise(task: task, draft: draft, view: v);
      yield c;
    }};
    let better = improve(task: task, old: draft, remarks: seen.remarks);
    let fresh = better.draft;
    next (draft: fresh) until all(seen.enough);
  }}
  return (draft: draft);
}}
"""
    views = [size.text(30, "view", i) for i in range(2)]
    rows = [{"task": size.near(500, "reflect", i), "views": views} for i in range(size.count(10))]
    rules = {
        "write": Rule({"": size.n(200)}),
        "criticise": Rule({"": size.n(100)}, {"enough": 0.6}),
        "improve": Rule({"": size.n(200)}),
    }
    return Workload("reflection", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def experts(size: Size) -> Workload:
    """Seven experts answer a question about a context, one joins their answers; six questions for each context."""
    source = f"""signature Answer(context: str, expert: str, question: str) -> (answer: str) {{
  \"\"\"{size.text(150, "expert")}\"\"\"
}}
signature Join(question: str, answers: list[str]) -> (answer: str) {{
  \"\"\"{size.text(150, "join experts")}\"\"\"
}}
module Main(context: str, experts: list[str], question: str) -> (answer: str) {{
  use answer = Predict(Answer);
  use join = Predict(Join);
  let all = map e in experts {{
    let said = answer(context: context, expert: e, question: question);
    yield said.answer;
  }};
  let joined = join(question: question, answers: all);
  return (answer: joined.answer);
}}
"""
    team = [size.text(60, "team", i) for i in range(7)]
    asked = [size.text(40, "six", i) for i in range(6)]
    rows = [
        {"context": size.near(800, "subject", i), "experts": team, "question": question}
        for i in range(size.count(2))
        for question in asked
    ]
    rules = {"answer": Rule({"": size.n(80)}), "join": Rule({"": size.n(100)})}
    return Workload("experts", "mixed", source, tuple(rows), rules, size.seed, size.scale)


def trading(size: Size) -> Workload:
    """88 calls: four analysts; a bull, a bear and a manager; eight chains of a trader and three risk agents in three
    rounds; a manager. The second day starts from the same static inputs."""
    source = f"""signature Analyse(market: str, desk: str) -> (report: str) {{
  \"\"\"{size.text(300, "analyse")}\"\"\"
}}
signature Argue(reports: list[str], side: str, said: list[str]) -> (argument: str) {{
  \"\"\"{size.text(300, "side")}\"\"\"
}}
signature Decide(reports: list[str], said: list[str], day: str) -> (plan: str) {{
  \"\"\"{size.text(300, "decide")}\"\"\"
}}
signature Trade(plan: str, share: str) -> (order: str) {{
  \"\"\"{size.text(300, "trade")}\"\"\"
}}
signature Weigh(plan: str, share: str, order: str, said: list[str], view: str) -> (risk: str) {{
  \"\"\"{size.text(300, "weigh")}\"\"\"
}}
signature Close(plan: str, orders: list[str]) -> (book: str) {{
  \"\"\"{size.text(300, "close")}\"\"\"
}}
module Main(market: str, day: str, desks: list[str], shares: list[str], views: list[str]) -> (book: str) {{
  use analyse = Predict(Analyse);
  use bull = Predict(Argue);
  use bear = Predict(Argue);
  use decide = Predict(Decide);
  use trade = Predict(Trade);
  use weigh = Predict(Weigh);
  use close = Predict(Close);
  let reports = map d in desks {{
    let made = analyse(market: market, desk: d);
    yield made.report;
  }};
  let up = bull(reports: reports, side: "for", said: []);
  let down = bear(reports: reports, side: "against", said: [up.argument]);
  let decided = decide(reports: reports, said: [up.argument, down.argument], day: day);
  let orders = map s in shares {{
    let order = trade(plan: decided.plan, share: s);
    loop (said: []) max 3 as i {{
      let fresh = map v in views {{
        let risk = weigh(plan: decided.plan, share: s, order: order.order, said: said, view: v);
        yield risk.risk;
      }};
      next (said: said + fresh) until i >= 2;
    }}
    yield order.order + " " + said[len(said) - 1];
  }};
  let done = close(plan: decided.plan, orders: orders);
  return (book: done.book);
}}
"""
    market = size.text(1200, "market")
    shared = {
        "desks": [size.text(40, "desk", i) for i in range(4)],
        "shares": [size.text(40, "share", i) for i in range(8)],
        "views": [size.text(40, "risk", i) for i in range(3)],
    }
    rows = [{"market": market, "day": size.near(60, "day", i), **shared} for i in range(size.count(2))]
    words = {"": size.n(120)}
    rules = {n: Rule(words) for n in ("analyse", "bull", "bear", "decide", "trade", "weigh", "close")}
    return Workload("trading", "mixed", source, tuple(rows), rules, size.seed, size.scale)
