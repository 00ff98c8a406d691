"""How the bundled model firefly is made: words, tokenizer, data, training, evaluation."""
