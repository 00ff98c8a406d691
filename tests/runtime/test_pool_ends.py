"""What models leave behind: nothing for ever, however many of them a process makes."""

from __future__ import annotations

import gc
import threading

import lampc
from lampc.runtime.pool import KEPT
from tests.runtime.loopback import Loopback


def endpoint_threads() -> int:
    gc.collect()
    return sum(t.name == "lampc-endpoint" for t in threading.enumerate())


def test_a_service_may_make_a_model_for_each_of_its_requests() -> None:
    before = endpoint_threads()
    ask = lampc.Predict("q -> answer")
    with Loopback(lambda messages: "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]") as server:
        for i in range(KEPT + 20):
            lm = lampc.LM("openai/m", api_base=server.url, api_key=f"key {i}", cache=False)
            with lampc.context(lm=lm):
                assert ask(q="x").answer == "yes"
        del lm
        assert endpoint_threads() - before <= KEPT + 1
        with lampc.context(lm=lampc.LM("openai/m", api_base=server.url, api_key="key 0", cache=False)):
            assert ask(q="x").answer == "yes", "one that was forgotten is made anew"
