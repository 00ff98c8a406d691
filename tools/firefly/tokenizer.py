"""The tokenizer of firefly: one form per word, cheap prompt boilerplate.

A section is the text between two added tokens.  ``ByteLevel`` puts a space
in front of every section, so a word has the same id at the start of a value,
after a newline and in the middle of a line; copying then is a plain copy.
Sections are encoded on their own, hence the tokenizer is compositional at
added tokens: ``encode(a + "<|end|>" + b) == encode(a) + [end] + encode(b)``.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from firefly.words import all_words

PAD, SYSTEM, USER, ASSISTANT, END = "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIALS = [PAD, SYSTEM, USER, ASSISTANT, END]
VOCAB_SIZE = 2880

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

BOILERPLATE = [
    "\n", "\n\n", "\n-", " ->", " (", "(", "`", '"', '["', '", "', '"]', "«", "»", "»\n", "{", "}",
    "Your input fields are:\n1. `",
    "\nYour output fields are:\n1. `",
    "` (str):", "` (str): ", "` (list[str]):", "` (list[str]): ", "` (bool):", "` (bool): ",
    "` (int):", "` (int): ", "` (float):", "` (float): ", "` (Literal['", "', '", "']):", "']): ",
    "\nAll interactions will be structured in the following way, with the appropriate values"
    " filled in.\n\n[[ ##",
    " ## ]]\n", " ## ]]\n{", "}\n\n[[ ##", "[[ ##", "\n\n[[ ##", "\n\n[[ ## completed ## ]]",
    "\n\n[[ ## completed ## ]]\n", "[[ ## completed ## ]]",
    "\n\n[[ ## completed ## ]]\nIn adhering to this structure, your objective is: \n        ",
    "}\n\n[[ ## completed ## ]]\nIn adhering to this structure, your objective is: \n        ",
    "}        # note: the value you produce must be True or False",
    "}        # note: the value you produce must be a single int value",
    "}        # note: the value you produce must be a single float value",
    "}        # note: the value you produce must exactly match (no extra characters) one of:",
    '}        # note: the value you produce must adhere to the JSON schema: {"type": "array",'
    ' "items": {"type": "string"}}',
    "\n\nRespond with the corresponding output fields, starting with the field `[[ ##",
    " ## ]]`, then `[[ ##", " ## ]]`, and then ending with the marker for `[[ ## completed ## ]]`.",
    " ## ]]` (must be formatted as a valid Python bool)",
    " ## ]]` (must be formatted as a valid Python int)",
    " ## ]]` (must be formatted as a valid Python float)",
    " ## ]]` (must be formatted as a valid Python list[str])",
    " ## ]]` (must be formatted as a valid Python Literal['",
    "'])", ", then `[[ ##", ", and then ending with the marker for `[[ ## completed ## ]]`.",
    "\n        ", "Given the fields `", "`, produce the fields `", "`.", "`, `", " one of:",
    "This is an example of the task, though some input or output fields are not supplied.\n\n[[ ##",
    "Not supplied for this particular example. ",
    "2. `", "\n2. `", "3. `", "\n3. `", "4. `", "\n4. `", "[1] «", "[2] «", "[3] «", "[4] «", "[5] «", "[6] «",
    "[7] «", "[8] «",
]  # fmt: skip
"""Texts that common prompt writers repeat; each costs one token."""


def byte_symbols() -> list[str]:
    """The printable stand-ins that byte-level BPE uses for the 256 bytes, in byte order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    symbols, spare = [], 256
    for byte in range(256):
        if byte in printable:
            symbols.append(chr(byte))
        else:
            symbols.append(chr(spare))
            spare += 1
    return symbols


def build_tokenizer() -> Tokenizer:
    """Build the tokenizer from the word list; the same words always give the same ids."""
    space = byte_symbols()[32]
    vocab: dict[str, int] = {}

    def put(symbol: str) -> None:
        vocab.setdefault(symbol, len(vocab))

    for symbol in SPECIALS:
        put(symbol)
    for symbol in byte_symbols():
        put(symbol)
    merges = [(c, v) for c in "bcdfghjklmnpqrstvwxyz" for v in "aeiou"]
    for left, right in merges:
        put(left + right)
    for mark in ",.:;?!-+=/)'%&*#<>$@":
        put(space + mark)
    for number in range(200):
        put(f"{space}{number}")
    for text in BOILERPLATE:
        put(text)
    for word in all_words():
        put(space + word)
    if len(vocab) > VOCAB_SIZE:
        raise ValueError(f"{len(vocab)} tokens do not fit into a vocabulary of {VOCAB_SIZE}")
    for spare in range(VOCAB_SIZE - len(vocab)):
        put(f"<|spare{spare}|>")

    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    split = Regex(r"Ġ?[A-Za-z]+|Ġ?[0-9]+|Ġ?[^ĠA-Za-z0-9]|Ġ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
            pre_tokenizers.Split(split, "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace(Regex(r'(?<=\n|\(|\["|", "|«) '), "")]
    )
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in BOILERPLATE])
    return tokenizer


def write_tokenizer(folder: Path) -> None:
    """Write ``tokenizer.json`` and its configuration into a checkpoint folder."""
    build_tokenizer().save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
