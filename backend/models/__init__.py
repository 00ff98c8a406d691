"""Model architectures: a registry by the name in `config.json`, and the layers they are made of."""
