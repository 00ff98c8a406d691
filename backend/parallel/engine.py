"""The tensor-parallel engine: `EngineCore` with several ranks behind it, all of which end with it."""

import weakref
from collections.abc import Callable, Sequence

from lampc.backend.api import EngineInfo
from lampc.backend.core import EngineCore
from lampc.backend.errors import EngineFailed
from lampc.backend.hooks import Hook
from lampc.backend.host_tier import HostTier
from lampc.backend.parallel.errors import RankFailed
from lampc.backend.parallel.runner import ParallelRunner
from lampc.backend.plan import Plan
from lampc.backend.request import Handle, Request
from lampc.backend.tokenizer import TextTokenizer


class ParallelEngine(EngineCore):
    """After a rank has failed, `step` raises RankFailed and `submit` EngineFailed; `close` is all that is left."""

    def __init__(
        self,
        runner: ParallelRunner,
        leave: Callable[[], None],
        tokenizer: TextTokenizer,
        info: EngineInfo,
        *,
        kv_tokens: int,
        max_batch_tokens: int,
        max_running: int,
        max_waiting: int,
        prefix_cache: bool,
        chunk: int | None,
        policy: str,
        patience: int,
        hooks: Sequence[Hook],
        host: HostTier | None = None,
    ) -> None:
        self.parallel = runner
        super().__init__(
            runner,
            tokenizer,
            info,
            kv_tokens=kv_tokens,
            max_batch_tokens=max_batch_tokens,
            max_running=max_running,
            max_waiting=max_waiting,
            prefix_cache=prefix_cache,
            chunk=chunk,
            policy=policy,
            patience=patience,
            hooks=hooks,
            host=host,
        )
        self._leave = weakref.finalize(self, leave)  # also when it is dropped, and at exit

    def submit(self, request: Request, on_token: Callable[[Handle, int], None] | None = None) -> Handle:
        """See `EngineCore.submit`. Raises EngineFailed as well if a rank has failed."""
        try:
            self.parallel.check()
        except RankFailed as error:
            raise EngineFailed(f"this engine has ended: {error}; load another one") from error
        return super().submit(request, on_token)

    def close(self) -> None:
        """See `EngineCore.close`; no process is left."""
        super().close()
        self._leave()

    def _failed(self, plan: Plan, error: Exception) -> None:
        if isinstance(error, RankFailed):  # of no request's making, and there is no next step
            self._roll_back(plan)
            raise error
        super()._failed(plan, error)
