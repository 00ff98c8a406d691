"""Tensor parallelism: one model over several processes, each with its share of the weights and of the K/V."""
