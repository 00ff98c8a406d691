"""Ids against transformers, chat templates, and what is said about broken files."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lampc.backend.errors import CheckpointError, Unsupported
from lampc.backend.tokenizer import ByteTokenizer, TextTokenizer, Tokenizer
from tests.backend.checkpoints import MARKERS, save_tokenizer, train_tokenizer

TEXTS = ["", "the cat", " the  cat\n", "naïve café 中文 \U0001f600", "x<|end|> y", "<|user|><|end|>", "12 + 30"]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": 'Hi <b>"there"</b>\n'},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]


@pytest.fixture(params=[(300, False), (400, True)], ids=["plain", "prefix-space"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save_tokenizer(tmp_path, train_tokenizer(*request.param))
    return tmp_path


def test_ids_and_texts_equal_transformers(folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    ours = Tokenizer.load(folder)
    assert isinstance(ours, TextTokenizer)
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs.encode(text, add_special_tokens=False)
        for skip in (True, False):
            expected = theirs.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
            assert ours.decode(ids, skip_special=skip) == expected
    assert ours.vocab_size == len(theirs)
    assert ours.eos_ids == {theirs.convert_tokens_to_ids("<|end|>")}
    assert ours.special_tokens == frozenset(MARKERS)


@pytest.mark.parametrize("prompt", [True, False])
def test_chat_equals_transformers(folder: Path, prompt: bool) -> None:
    from transformers import PreTrainedTokenizerFast

    template = (
        "{{ bos_token | default('') }}{% for m in messages %}\n  {% if m.role == 'system' %}\n"
        "[SYS]{{ m.content | tojson }}\n  {% else %}\n{{ m.role }}: {{ m.content | trim }}{{ eos_token }}\n"
        "  {% endif %}\n{% if loop.last %}{% continue %}{% endif %}--\n{% endfor %}\n"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    ours = Tokenizer.load(folder)
    assert ours.chat_template == template
    theirs.chat_template = template
    expected = theirs.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=prompt)
    assert ours.render_chat(MESSAGES, add_generation_prompt=prompt) == expected


def test_compositional(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, train_tokenizer())
    assert Tokenizer.load(tmp_path).compositional()
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    for token in data["added_tokens"]:
        token["lstrip"] = True  # swallows a space before the marker
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert not Tokenizer.load(tmp_path).compositional()


def joints_one_by_one(tokenizer: TextTokenizer) -> bool:
    """What `compositional` says, each joint in a text of its own."""
    pieces = ("a", " a", "a ", "\n", " \n x", "Hello, world", "  two", "é中", "1234", "")
    encode = tokenizer.encode
    return all(
        len(encode(special)) == 1 and encode(a) + encode(special) + encode(b) == encode(a + special + b)
        for special in tokenizer.special_tokens
        for a in pieces
        for b in pieces
    )


@pytest.mark.parametrize("change", ["", "lstrip", "rstrip", "single_word", "normalized"])
@pytest.mark.parametrize("kind", [(300, False), (400, True)], ids=["plain", "prefix-space"])
def test_compositional_as_joint_by_joint(tmp_path: Path, change: str, kind: tuple[int, bool]) -> None:
    save_tokenizer(tmp_path, train_tokenizer(*kind))
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    if change:
        data["added_tokens"][-1][change] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.compositional() == joints_one_by_one(tokenizer)


def test_digest_follows_behaviour(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, train_tokenizer())
    first = Tokenizer.load(tmp_path).digest
    assert Tokenizer.load(tmp_path).digest == first
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert Tokenizer.load(tmp_path).digest != first


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not a tokenizer"):
        Tokenizer.load(tmp_path)
    save_tokenizer(tmp_path, train_tokenizer())
    (tmp_path / "chat_template.jinja").write_text("{% for %}")
    with pytest.raises(CheckpointError, match="chat template does not compile"):
        Tokenizer.load(tmp_path)


def test_templates_are_sandboxed_and_may_refuse(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, train_tokenizer())
    for source, message in (
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages.append(1) }}", "unsafe|immutable|safely"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    ):
        (tmp_path / "chat_template.jinja").write_text(source)
        with pytest.raises(ValueError, match=message):
            Tokenizer.load(tmp_path).render_chat(MESSAGES)


def test_no_template(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, train_tokenizer())
    (tmp_path / "tokenizer_config.json").unlink()
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.chat_template is None
    with pytest.raises(Unsupported, match="no chat template"):
        tokenizer.render_chat(MESSAGES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_bytes_round_trip(text: str) -> None:
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids, skip_special=False) == text
    assert max(ids, default=0) < tokenizer.vocab_size


def test_byte_tokenizer_markers_and_chat() -> None:
    tokenizer = ByteTokenizer()
    assert isinstance(tokenizer, TextTokenizer)
    assert tokenizer.encode("a<|end|><|b") == [97, 259, *b"<|b"]
    assert tokenizer.decode([97, 259, 98]) == "ab"
    assert tokenizer.eos_ids == {259}
    assert tokenizer.compositional()
    chat = tokenizer.render_chat([{"role": "user", "content": "hi"}])
    assert chat == "<|user|>hi<|end|><|assistant|>"
    with pytest.raises(ValueError, match="outside the vocabulary"):
        tokenizer.decode([260])
