"""The bundled model firefly: a Hugging Face folder with weights and tokenizer.

It is a small Llama trained from scratch on synthetic tasks, so that every
feature of the compiler can be tried without a download.  How it was made and
how well it does is written in ``docs/firefly.md``.
"""
