"""`lampc run` with LoRA adapters: a program's predictors name them, and each answers as merged weights do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lampc.runtime.pool import firefly_folder
from tests.backend.test_lora import ATTENTION, make, merged
from tests.cli.conftest import Result

PROGRAM = '''
model law = engine("{law}");
model code = engine("{code}");

signature Answer(text: str) -> (word: str) {{ """Complete the task.""" }}

module Both(text: str) -> (law: str, code: str, plain: str) {{
  use a = Predict(Answer) @model(law);
  use b = Predict(Answer) @model(code);
  use c = Predict(Answer);
  let x = a(text: text);
  let y = b(text: text);
  let z = c(text: text);
  return (law: x.word, code: y.word, plain: z.word);
}}
'''


def test_each_predictor_answers_as_merged_weights_do(lampc: Callable[..., Result], tmp_path: Path) -> None:
    base, scales = Path(firefly_folder()), {"law": 1 / 4, "code": 1 / 4}
    folders = {
        name: make(base, tmp_path / name, ATTENTION, seed, lora_alpha=1, base_model_name_or_path="firefly")
        for seed, name in enumerate(scales)
    }
    weights = {name: merged(base, folders[name], tmp_path / f"{name}-merged", s) for name, s in scales.items()}

    def outputs(law: Path, code: Path) -> list[str]:
        program = tmp_path / "both.lmp"
        program.write_text(PROGRAM.format(law=law, code=code), encoding="utf-8")
        rows = tmp_path / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": f"the {x} is wrong"}) + "\n" for x in ("wifi", "bill", "pin")))
        done = lampc("run", str(program), "--data", str(rows))
        assert done.code == 0, done.err
        return done.out.splitlines()

    tuned = outputs(folders["law"], folders["code"])
    assert tuned == outputs(weights["law"], weights["code"])
    assert any(len({json.loads(line)[name] for name in ("law", "code", "plain")}) > 1 for line in tuned)
