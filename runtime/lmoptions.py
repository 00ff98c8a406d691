"""Options of an `LM` by whom they are for: a connection, an engine here, or nobody that is asked."""

from __future__ import annotations

CONNECTION = {
    "api_key": "api_key",
    "timeout": "timeout",
    "headers": "headers",
    "extra_headers": "headers",
    "max_concurrency": "max_concurrency",
    "requests_per_minute": "requests_per_minute",
    "rpm": "requests_per_minute",
    "tokens_per_minute": "tokens_per_minute",
    "tpm": "tokens_per_minute",
    "batch": "batch",
}
"""Options of the connection under the names that users have for them."""
LOCAL = (
    *("backend", "tensor_parallel", "speculative", "device", "dtype"),
    *("kv_tokens", "max_batch_tokens", "max_running", "chunk"),
)
NOT_SENT = (
    "structured_outputs",
    "n",
    "rollout_id",
    "max_completion_tokens",
    "price",
    "api_base",
    "base_url",
    "max_retries",
    "finetuning_model",
    "launch_kwargs",
    "train_kwargs",
)
"""Options that are no part of what an endpoint is asked."""
