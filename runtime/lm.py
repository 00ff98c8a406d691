"""`LM`: a model by its name, with DSPy's constructor and calls; `BaseLM` for models written in Python."""

from __future__ import annotations

import copy
import json
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TextIO

from lampc.frontend.python.callbacks import active, begin
from lampc.ir import Draw, Key, Sampling
from lampc.ir.errors import LMUnexpectedError
from lampc.ir.penalties import SAMPLING, penalties_of, told_penalties
from lampc.ir.settings import settings
from lampc.runtime.answers import counts, shown
from lampc.runtime.history import CallEntry, History, print_entries, said
from lampc.runtime.lmoptions import CONNECTION, LOCAL, NOT_SENT
from lampc.runtime.lmstate import ADDRESSES, CLASS, DSPY_LM, saved_class
from lampc.runtime.replaced import IN_CALL, IN_FORWARD, Replaceable, completion, drawing
from lampc.runtime.routes import route

if TYPE_CHECKING:
    from lampc.runtime.models import Answer
    from lampc.runtime.modelview import ModelView, Watch
    from lampc.runtime.session import Session
    from lampc.runtime.types import Usage

logger = logging.getLogger(__name__)


class BaseLM(Replaceable):
    """Base of models that are Python code: override `forward(prompt=None, messages=None, **kwargs)`, or `aforward`.

    It gives a text, or a chat completion as OpenAI's client does (an object or a dict with `choices`). Its answers are
    kept for equal calls only with `cache=True`: what a user's code would answer the next time nobody knows.
    """

    def __init__(
        self,
        model: str,
        model_type: str = "chat",
        temperature: float | None = None,
        max_tokens: int | None = None,
        cache: bool | None = None,
        callbacks: Sequence[Any] | None = None,
        num_retries: int = 3,
        **kwargs: Any,
    ) -> None:
        if not isinstance(model, str) or not model:
            raise ValueError("model must be a non-empty text")
        if isinstance(num_retries, bool) or not isinstance(num_retries, int) or num_retries < 0:
            raise ValueError("num_retries must be a whole number, 0 or more")
        if model_type not in ("chat", "text", "responses"):
            raise ValueError(f"model_type is chat, text or responses, not {model_type!r}")
        self.model, self.model_type, self.cache = model, model_type, cache is not False
        self._keep = cache is True
        self._said: Mapping[str, Any] = {}
        self.callbacks = list(callbacks or ())
        self.num_retries = num_retries
        self.kwargs: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, **kwargs}
        self._entries: deque[CallEntry | dict[str, Any]] = deque(maxlen=int(settings.max_history_size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a copy of a program asks the same model

    # -- calls ----------------------------------------------------------------------------------------

    def __call__(
        self, prompt: str | None = None, messages: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Texts of the answers; an answer with tool calls, reasoning or log-probabilities is a dict of them.

        `kwargs` are sampling options for this call (`temperature max_tokens top_p stop n rollout_id cache`,
        penalties), others go to the endpoint as they are. Raises LMError.
        """
        session, *call = self._prepared(prompt, messages, kwargs)
        return self._told(session.chat(*call))

    async def acall(
        self, prompt: str | None = None, messages: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> list[Any]:
        """As calling, for `await`."""
        session, *call = self._prepared(prompt, messages, kwargs)
        return self._told(await session.achat(*call))

    def forward(
        self, prompt: str | None = None, messages: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> Any:
        """What the model answers, as a chat completion: to be replaced, and to be called by `super()` where there is
        a model below. Raises LMError; ModelError where there is none."""
        session, *call = self._prepared(prompt, messages, kwargs, IN_FORWARD)
        return completion(self._good(session.chat(*call)), self.model)

    async def aforward(
        self, prompt: str | None = None, messages: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> Any:
        """As `forward`, for `await`. Where both are replaced, `forward` is called."""
        session, *call = self._prepared(prompt, messages, kwargs, IN_FORWARD)
        return completion(self._good(await session.achat(*call)), self.model)

    def _told(self, answers: Sequence[Answer]) -> list[Any]:
        return [shown(a) for a in self._good(answers)]

    def _good(self, answers: Sequence[Answer]) -> Sequence[Answer]:
        for answer in answers:
            if answer.error:
                raise answer.exception or LMUnexpectedError(answer.error, model=self.model)
        return answers

    def _prepared(
        self,
        prompt: str | None,
        messages: Sequence[Mapping[str, Any]] | None,
        kwargs: dict[str, Any],
        step: int = IN_CALL,
    ) -> tuple[Any, ...]:
        """(the session, messages, sampling, draws) of a call."""
        from lampc.runtime.configure import current_session

        if (prompt is None) == (messages is None):
            raise TypeError("an LM is given a prompt or messages")
        given = [{"role": "prompt", "content": prompt}] if messages is None else [dict(m) for m in messages]
        n = int(kwargs.pop("n", None) or self.kwargs.get("n") or 1)
        rollout = kwargs.pop("rollout_id", self.kwargs.get("rollout_id"))
        lm = self if not kwargs else self.copy(**kwargs)
        lm._said = kwargs
        lm._entries = self._entries
        if lm is not self:
            lm._origin = self.origin
        if step == IN_FORWARD or lm.replaced() == "__call__":
            lm = lm.beyond(step)
        session: Session = current_session(f"LM {self.model!r}").using(lm)
        drawn = f"#{drawing.get():x}" if drawing.get() else ""
        key = Key((("lm" if rollout is None else f"lm@{rollout}") + drawn,))
        sampling = Sampling()
        view = session.models.get("main")
        if n > 1 and not lm.replaced() and view.sampling(sampling).temperature <= 0.15:
            sampling = Sampling(temperature=0.7)
        draws = [Draw(session.seed, key, (i,) if n > 1 else ()) for i in range(n)]
        return session, given, sampling, draws

    def stream(
        self, prompt: str | None = None, messages: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> Iterator[str]:
        """The answer's text, piece by piece. Only endpoints stream; elsewhere it comes in one piece. Raises LMError."""
        from lampc.runtime.configure import current_session

        given = [{"role": "user", "content": prompt}] if messages is None else [dict(m) for m in messages]
        lm = self.copy(**kwargs) if kwargs else self
        view = current_session(f"LM {self.model!r}").using(lm).models.get("main")
        client = getattr(view.model, "client", None)
        if client is None:
            yield from (str(t) for t in self(messages=given, **kwargs)[:1])
            return
        s = view.sampling(Sampling())
        options = {"temperature": s.temperature, "max_tokens": s.max_tokens, "top_p": s.top_p, "stop": s.stop}
        options.update(told_penalties(s))
        options.update(json.loads(view.extra or "{}"))
        yield from (piece for piece in client.stream(given, **options) if isinstance(piece, str))

    # -- what is remembered ---------------------------------------------------------------------------

    @property
    def history(self) -> list[dict[str, Any]]:
        """The last calls that were answered, oldest first, at most `settings.max_history_size` of them; what a class of
        the user's appends is kept among them."""
        known = (e if isinstance(e, dict) else e.as_dict() for e in self._entries if not _failed(e))
        return History(known, self._entries)

    @history.setter
    def history(self, entries: list[dict[str, Any]]) -> None:
        if entries:
            raise ValueError("the history of an LM can be emptied (`lm.history = []`), not written")
        self._entries = deque(maxlen=int(settings.max_history_size))
        self.__dict__.pop("_inner", None)

    def inspect_history(self, n: int = 1, file: TextIO | None = None) -> None:
        """Print the last `n` calls of this model."""
        found = [e if isinstance(e, dict) else e.as_dict() for e in self._entries]
        print_entries(found[-n:] if n > 0 else [], file)

    def watch(self, view: ModelView, sampling: Sampling, ids: Any, messages: Any, started: float) -> Watch:
        """Called as a call begins; what it gives is called at its end."""
        told = active(self)
        end = begin("lm", self.origin, self._inputs(messages, sampling), told) if told else None
        here = settings.view()
        tracker, keep = here["usage_tracker"], not here["disable_history"]

        def finish(answer: Answer, usage: Usage, ids: Any, messages: Any) -> None:
            if keep:
                self._entries.append(
                    CallEntry(self, view, sampling, ids, messages, answer, bool(usage.stored_calls), started)
                )
            if tracker is not None and not usage.stored_calls and (usage.prompt_tokens or not answer.error):
                tracker.add_usage(self.model, counts(answer))
            if end is not None:
                end([shown(answer)] if not answer.error else None, answer.exception)

        return finish

    def _inputs(self, messages: Any, sampling: Sampling) -> dict[str, Any]:
        """A call as callbacks are told of it: the options are those that the call itself says."""
        from lampc.runtime.remote import message

        kwargs = {**self._said, **said(sampling)}
        if len(messages) == 1 and messages[0][0] == "prompt":
            return {"prompt": messages[0][1], "messages": None, "kwargs": kwargs}
        return {"prompt": None, "messages": [message(*turn) for turn in messages], "kwargs": kwargs}

    # -- copies and state -----------------------------------------------------------------------------

    def copy(self, **kwargs: Any) -> Self:
        """The same model with other options; None takes an option away."""
        made = copy.copy(self)
        made.kwargs = {**self.kwargs}
        made._entries = deque(maxlen=self._entries.maxlen)
        made._said = {}
        for own in ("_lampc_name", "_inner", "_origin"):
            made.__dict__.pop(own, None)
        for name, value in kwargs.items():
            if name in ("model", "cache", "num_retries", "callbacks", "model_type", "prompt_cache"):
                setattr(made, name, value)
                made._keep = value is True if name == "cache" else made._keep
            elif value is None and name not in ("temperature", "max_tokens"):
                made.kwargs.pop(name, None)
            else:
                made.kwargs[name] = value
        return made

    def dump_state(self) -> dict[str, Any]:
        """In the form that DSPy saves; keys and prices are left out."""
        kept = {k: v for k, v in self.kwargs.items() if k not in ("api_key", "price", "headers", "extra_headers")}
        return {
            CLASS: DSPY_LM if type(self) is LM else f"{type(self).__module__}.{type(self).__qualname__}",
            "model": self.model,
            "model_type": self.model_type,
            "cache": self.cache,
            "num_retries": self.num_retries,
            **kept,
        }

    # -- for sessions ---------------------------------------------------------------------------------

    @property
    def kept(self) -> bool:
        """Whether answers are kept for equal calls."""
        return self.cache and self._keep

    def defaults(self) -> dict[str, Any]:
        """Sampling options that stand in for what calls do not say."""
        out = {k: self.kwargs[k] for k in SAMPLING if self.kwargs.get(k) is not None}
        if (bound := self.kwargs.get("max_completion_tokens")) is not None:
            out.setdefault("max_tokens", bound)
        if "stop" in out:
            out["stop"] = (out["stop"],) if isinstance(out["stop"], str) else tuple(out["stop"])
        out.update(penalties_of(out))
        if "temperature" in out:
            out["temperature"] = float(out["temperature"])
        return out

    def further(self) -> dict[str, Any]:
        """Options that go to an endpoint with every call."""
        own = {*SAMPLING, *CONNECTION, *LOCAL, *NOT_SENT}
        return {k: v for k, v in self.kwargs.items() if k not in own and v is not None}


def _failed(entry: CallEntry | dict[str, Any]) -> bool:
    return isinstance(entry, CallEntry) and bool(entry.answer.error)


class LM(BaseLM):
    """A model by its name: `firefly`, a checkpoint folder, the URL of an OpenAI-compatible endpoint, or
    `provider/model`.

    With `api_base` the calls go there, and `openai/name` asks it for `name`. Without, `openai/...` goes to OpenAI, any
    other provider through litellm if that is installed. `temperature`, `max_tokens`, `stop` and so on stand in for
    what predictors do not say. Of the connection: `api_key timeout num_retries headers max_concurrency
    requests_per_minute tokens_per_minute`. `prompt_cache` says whose rules of prompt caches count, in place of those of
    the endpoint's host: a provider's name, fields of `lampc.runtime.providers.rules.Rules`, or False for none. With
    `structured_outputs=True` calls in the JSON layout carry the schema of their outputs as `response_format`. `price`
    is (prompt, completion[, cached]) per million tokens. What is left is sent with every request. `engine` is an object
    that answers: an engine, or a function of messages.
    """

    def __init__(
        self,
        model: str,
        model_type: str = "chat",
        temperature: float | None = None,
        max_tokens: int | None = None,
        cache: bool = True,
        callbacks: Sequence[Any] | None = None,
        num_retries: int = 3,
        provider: Any = None,
        finetuning_model: str | None = None,
        launch_kwargs: dict[str, Any] | None = None,
        train_kwargs: dict[str, Any] | None = None,
        use_developer_role: bool = False,
        engine: Any = "auto",
        async_engine: Any = None,
        prompt_cache: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, model_type, temperature, max_tokens, cache, callbacks, num_retries, **kwargs)
        self.provider = provider
        self.finetuning_model = finetuning_model
        self.launch_kwargs, self.train_kwargs = launch_kwargs or {}, train_kwargs or {}
        self.use_developer_role = use_developer_role
        self.engine = engine
        self.prompt_cache = prompt_cache
        if isinstance(engine, str) and engine not in ("auto", "litellm", "openai"):
            raise ValueError(f"engine is auto, openai, litellm or an object that answers, not {engine!r}")

    @property
    def default_layout(self) -> str:
        """The adapter of predictors where nobody names one: DSPy's default, but `compact` for engines of ours, of
        which the bundled model is one."""
        return "compact" if self.model == "firefly" or hasattr(self.engine, "tokenizer") else "chat"

    @property
    def kept(self) -> bool:
        return self.cache and not self.replaced()

    def source(self) -> tuple[Any, dict[str, Any]]:
        """What a pool makes this model of: (source, options). Raises LMConfigurationError."""
        if self.replaced():
            return self, {}
        if not isinstance(self.engine, str):
            return self.engine, {}
        base = self.kwargs.get("api_base") or self.kwargs.get("base_url")
        url, name = route(self.model, base, self.engine)
        if not url:
            return name, {k: v for k, v in self.kwargs.items() if k in LOCAL and v is not None}
        options = {CONNECTION[k]: v for k, v in self.kwargs.items() if k in CONNECTION and v is not None}
        options["max_retries"] = self.num_retries
        if self.prompt_cache is not None:
            options["prompt_cache"] = self.prompt_cache
        return url, {**options, **({"model": name} if name else {})}

    def dump_state(self) -> dict[str, Any]:
        return {
            **super().dump_state(),
            "finetuning_model": self.finetuning_model,
            "launch_kwargs": self.launch_kwargs,
            "train_kwargs": self.train_kwargs,
            **({} if self.prompt_cache is None else {"prompt_cache": self.prompt_cache}),
        }

    @classmethod
    def load_state(cls, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> BaseLM:
        """The LM of a saved state. Unless `allow_unsafe_lm_state`, addresses in it are dropped.

        Raises ValueError for options that its class does not take, and for a class of the user's that cannot be
        imported, or must not because the state is not said to be safe.
        """
        name = state.get(CLASS)
        made = cls if name in (None, DSPY_LM) else saved_class(str(name), cls, BaseLM, allow_unsafe_lm_state)
        dropped = () if allow_unsafe_lm_state else [k for k in ADDRESSES if state.get(k) is not None]
        if dropped:
            logger.warning(
                "%s of a saved LM left out: who trusts the file loads it with allow_unsafe_lm_state=True",
                ", ".join(dropped),
            )
        try:
            return made(**{k: v for k, v in state.items() if k not in dropped and k != CLASS})
        except TypeError as e:
            raise ValueError(f"not the saved state of an LM: {e}") from None
