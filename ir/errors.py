"""Errors of model calls under DSPy's names: what a program may catch, whatever answers it.

Each carries what the endpoint said of it: `model provider provider_code status request_id retry_after`.
"""

from __future__ import annotations

from typing import Any


class DSPyError(Exception):
    """Base of all. `code` is a stable name of the kind of error."""

    default_code: str | None = None

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        provider_code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.model, self.provider, self.provider_code = model, provider, provider_code
        self.status, self.request_id, self.retry_after = status, request_id, retry_after


class LMError(DSPyError):
    """A model could not be asked, or did not answer as asked."""

    default_code = "lm_error"


class LMTransportError(LMError):
    """No connection: nothing came back."""

    default_code = "transport"


class LMLockTimeoutError(LMError):
    """Something on this machine that a call needs stayed locked."""

    default_code = "lock_timeout"


class LMCollectionLimitError(LMError):
    """An answer is longer than what is collected of one."""

    default_code = "collection_limit"


class LMConfigurationError(LMError):
    """The model or its client is not set up so that it could be asked."""

    default_code = "configuration"


class LMNotConfiguredError(LMConfigurationError):
    """Something needed was never said: a model, a key, a package."""

    default_code = "not_configured"


class LMUnsupportedFeatureError(LMError):
    """What was asked for is not to be had of this model. `features` names it."""

    default_code = "unsupported_feature"

    def __init__(
        self,
        message: str = "",
        *,
        features: list[str] | None = None,
        feature: str | None = None,
        issues: list[str] | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.feature = feature
        self.features = list(features) if features is not None else [feature] if feature is not None else []
        self.issues = list(issues or [])


class LMProviderError(LMError):
    """The endpoint answered, and its answer was an error."""

    default_code = "provider"


class LMAuthError(LMProviderError):
    """The key is missing, wrong or not allowed here."""

    default_code = "auth"


class LMBillingError(LMProviderError):
    """No credit is left."""

    default_code = "billing"


class LMRateLimitError(LMProviderError):
    """Too many requests or tokens; `retry_after` is the wait in seconds, if it was said."""

    default_code = "rate_limit"


class LMInvalidRequestError(LMProviderError):
    """The endpoint refuses the request as it is."""

    default_code = "invalid_request"


class ContextWindowExceededError(LMInvalidRequestError):
    """The prompt, with the answer asked for, is longer than the model's context."""

    default_code = "context_window_exceeded"

    def __init__(self, message: str = "Context window exceeded", **details: Any) -> None:
        super().__init__(message, **details)


class LMUnsupportedModelError(LMInvalidRequestError):
    """There is no such model, or no such path."""

    default_code = "unsupported_model"


class LMTimeoutError(LMProviderError):
    """No whole answer in time."""

    default_code = "timeout"


class LMServerError(LMProviderError):
    """The server is failing or overloaded."""

    default_code = "server"


class LMUnexpectedError(LMError):
    """What came back is no answer, or something failed that has no class of its own."""

    default_code = "unexpected"


class LMStreamAssemblyError(LMUnexpectedError):
    """A stream ended before its answer did; `partial` is what had come."""

    default_code = "stream_assembly"

    def __init__(
        self, message: str = "", *, partial: Any = None, part_index: int | None = None, **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.partial, self.part_index = partial, part_index


_RETRYABLE = (LMRateLimitError, LMTimeoutError, LMServerError, LMTransportError, LMLockTimeoutError)


def is_retryable_lm_error(error: BaseException) -> bool:
    """Whether the same request may well succeed later."""
    return isinstance(error, _RETRYABLE)


BY_CODE: dict[str, type[LMError]] = {}
"""The classes by their codes, for errors that travel as text."""


def _collect(cls: type[LMError]) -> None:
    BY_CODE[str(cls.default_code)] = cls
    for sub in cls.__subclasses__():
        _collect(sub)


_collect(LMError)
