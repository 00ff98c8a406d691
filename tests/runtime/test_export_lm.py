"""Exported Python programs send what their LM sends, and read what is left out as the program does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lampc
from lampc.runtime.cli.app import main
from tests.runtime.loopback import Loopback, Messages
from tests.runtime.test_export import outside

PROGRAM = """
import lampc
from pydantic import BaseModel

{configure}

class Item(BaseModel):
    name: str
    quantity: int = 1

class Extract(lampc.Signature):
    text: str = lampc.InputField()
    goods: list[Item] = lampc.OutputField()

class Main(lampc.Module):
    def __init__(self):
        super().__init__()
        self.extract = lampc.Predict(Extract)
        self.say = lampc.Predict("text -> answer", temperature=0.0)

    def forward(self, text):
        found = self.extract(text=text).goods
        return lampc.Prediction(total=sum(i.quantity for i in found), answer=self.say(text=text).answer)

program = Main()
"""


def answer(messages: Messages) -> str:
    if "goods" in messages[0]["content"]:
        return '[[ ## goods ## ]]\n[{"name": "a", "quantity": 2}, {"name": "b"}]\n\n[[ ## completed ## ]]'
    return "no mark at all"


@pytest.mark.parametrize("options", ["", "temperature=0.3, max_tokens=99, seed=7", None])
def test_calls_say_what_the_lm_says(options: str | None, tmp_path: Path) -> None:
    file = tmp_path / "prog.py"
    with Loopback(answer) as server:
        lm = (
            ""
            if options is None
            else f"lampc.configure(lm=lampc.LM('openai/loop', api_base='{server.url}', {options}))"
        )
        file.write_text(PROGRAM.format(configure=lm))
        assert main(["export", str(file), "--to", str(tmp_path / "out")]) == 0
        if options is None:
            lampc.configure(lm=lampc.LM("openai/loop", api_base=server.url))
        lampc.configure(adapter=lampc.ChatAdapter(use_json_adapter_fallback=False))
        names: dict[str, object] = {}
        exec(compile(file.read_text(), str(file), "exec"), names)
        made = names["program"](text="x")  # type: ignore[operator]
        mine, server.requests[:] = list(server.requests), []
        (found,) = outside(tmp_path / "out" / "main.py", "program_main", [{"text": "x"}], server)
        assert found == {"total": made.total, "answer": made.answer} == {"total": 3, "answer": "no mark at all"}
        assert server.requests == mine
    assert json.loads((tmp_path / "out" / "prompts.json").read_text())["predictors"]["say"]["layout"] == "chat"
