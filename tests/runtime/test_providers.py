"""Endpoints: answers, retries, bounds and errors, all against a server on this machine."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from email.utils import formatdate

import pytest

from lampc.backend import FakeEngine
from lampc.ir.errors import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMCollectionLimitError,
    LMConfigurationError,
    LMError,
    LMInvalidRequestError,
    LMTimeoutError,
    LMTransportError,
    LMUnexpectedError,
    LMUnsupportedModelError,
)
from lampc.runtime.providers import OpenAIClient
from lampc.runtime.providers.address import find_key, read_address
from tests.runtime.loopback import Loopback, Messages, Reply, failure

KEY = "sk-very-secret-0123456789"
ASK = [{"role": "user", "content": "hi there"}]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAMPC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def echo(messages: Messages) -> str:
    return messages[-1]["content"].upper()


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(echo) as loopback:
        yield loopback


def client(server: Loopback, **options: object) -> OpenAIClient:
    return OpenAIClient(server.url, "loop", **{"backoff": 0.01, **options})  # type: ignore[arg-type]


# -- the ordinary way ---------------------------------------------------------------------------------


def test_an_answer_with_its_counts(server: Loopback) -> None:
    with client(server) as c:
        answer = c.complete(ASK, temperature=0.5, top_p=0.9, max_tokens=7, stop=["\n"], seed=3)
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("HI THERE", 2, 2)
    assert (answer.finish, answer.model) == ("stop", "loop")
    assert server.requests == [
        {
            "model": "loop",
            "messages": ASK,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 7,
            "stop": ["\n"],
            "seed": 3,
        }
    ]
    assert "authorization" not in server.headers[0]


def test_what_is_not_asked_for_is_not_sent(server: Loopback) -> None:
    with client(server) as c:
        c.complete(ASK)
    assert set(server.requests[0]) == {"model", "messages"}


def test_many_calls_keep_their_answers_and_stay_within_the_bound() -> None:
    with Loopback(echo, seconds=0.01) as server, client(server, max_concurrency=4) as c:
        futures = [c.submit([{"role": "user", "content": f"n{i}"}]) for i in range(40)]
        assert [f.result().text for f in futures] == [f"N{i}" for i in range(40)]
    assert 1 < server.peak <= 4


def test_text_survives_the_wire(server: Loopback) -> None:
    text = "é 中 🙂 \ud800 \x00 \u2028 <|end|>"
    with client(server) as c:
        c.complete([{"role": "user", "content": text}])
    assert server.requests[0]["messages"][0]["content"] == text


def test_an_engine_behind_the_endpoint_gives_its_own_tokens() -> None:
    with Loopback(FakeEngine()) as server, client(server) as c:
        remote = c.complete(ASK, max_tokens=40)
    engine = FakeEngine()
    assert remote.text == engine.ask(engine.tokenizer.render_chat(ASK))


def test_the_only_model_of_a_server_needs_no_name(server: Loopback) -> None:
    with OpenAIClient(server.url) as c:
        assert c.model == "loop"
        assert c.complete(ASK).text == "HI THERE"


def test_several_models_need_a_name() -> None:
    with (
        Loopback(echo, models=("a", "b")) as server,
        OpenAIClient(server.url) as c,
        pytest.raises(LMUnsupportedModelError, match=r"2 models are served; give the name of one \(a, b\)"),
    ):
        c.submit(ASK)


# -- addresses and keys -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://127.0.0.1:80", "http://127.0.0.1:80/v1"),
        ("http://127.0.0.1:80/", "http://127.0.0.1:80/v1"),
        ("http://127.0.0.1:80/v1", "http://127.0.0.1:80/v1"),
        ("http://127.0.0.1:80/v1/", "http://127.0.0.1:80/v1"),
        (" https://Host/v1/chat/completions ", "https://host/v1"),
        ("https://host/api/v3", "https://host/api/v3"),
        ("https://me:pw@host/v1?version=2", "https://host/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_urls_in_the_forms_people_write(written: str, url: str) -> None:
    assert read_address(written).url == url


@pytest.mark.parametrize("written", ["", "host/v1", "ftp://host", "http://", "http://[::1", "http://h:99999999"])
def test_what_is_no_url_is_said(written: str) -> None:
    with pytest.raises(LMConfigurationError, match="no URL of an endpoint; write it like"):
        OpenAIClient(written)


def test_query_and_password_travel_but_are_not_shown(server: Loopback) -> None:
    url = server.url.replace("//", "//me:hunter22@") + "?version=7"
    with OpenAIClient(url, "loop") as c:
        c.complete(ASK)
        assert "hunter22" not in repr(c) + c.base_url
    assert server.headers[0]["authorization"].startswith("Basic ")


def test_which_key_goes_where() -> None:
    both = {"LAMPC_API_KEY": "ours", "OPENAI_API_KEY": "theirs"}
    one = {"OPENAI_API_KEY": "theirs"}
    for url in ("https://host", "http://127.0.0.1:1", "http://host"):
        assert find_key(read_address(url), both) == "ours"
    assert find_key(read_address("https://host"), one) == "theirs"
    assert find_key(read_address("http://localhost:1"), one) == "theirs"
    assert find_key(read_address("http://host"), one) == ""
    with pytest.raises(LMConfigurationError, match="LAMPC_API_KEY holds characters") as caught:
        find_key(read_address("https://host"), {"LAMPC_API_KEY": "a\nsecret"})
    assert "secret" not in str(caught.value)


def test_the_key_is_sent_and_never_shown(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LAMPC_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server.script.extend(
        [None, failure(401, f"Incorrect API key provided: {KEY}."), failure(400, f"bad {KEY[:12]}***{KEY[-4:]}")]
    )
    with client(server) as c:
        c.complete(ASK)
        shown = [repr(c), str(vars(c).get("_address"))]
        for _ in range(2):
            with pytest.raises(LMError) as caught:
                c.complete(ASK)
            shown.append(f"{caught.value} {caught.value!r} {caught.value.__cause__!r}")
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert "very-secret" not in " ".join(shown)
    assert "very-secret" not in caplog.text


def test_proxies_are_left_out_for_this_machine(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with client(server, max_retries=0) as c:
        assert c.complete(ASK).text == "HI THERE"


# -- retries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_busy_servers_are_asked_again(server: Loopback, status: int) -> None:
    server.script.extend([failure(status), failure(status)])
    with client(server) as c:
        assert c.complete(ASK).text == "HI THERE"
    assert len(server.requests) == 3


def test_a_torn_answer_is_asked_for_again(server: Loopback) -> None:
    server.script.append(Reply(200, b'{"choices": [', cut=True))
    with client(server) as c:
        assert c.complete(ASK).text == "HI THERE"
    assert len(server.requests) == 2


def test_retries_end(server: Loopback) -> None:
    server.script.extend([failure(503, "warming up")] * 9)
    with client(server, max_retries=2) as c, pytest.raises(LMError) as caught:
        c.complete(ASK)
    assert len(server.requests) == 3
    assert caught.value.status == 503
    assert "HTTP 503" in str(caught.value)
    assert "(warming up) (3 attempts)" in str(caught.value)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_heeded(server: Loopback, form: str) -> None:
    after = "0.3" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    server.script.append(failure(429, "slow down", retry_after=after))
    begun = time.monotonic()
    with client(server) as c:
        c.complete(ASK)
    assert time.monotonic() - begun > (0.25 if form == "seconds" else 0.8)


def test_retry_after_holds_back_all_calls() -> None:
    with Loopback(echo, script=[failure(429, retry_after="0.4")]) as server, client(server, max_concurrency=1) as c:
        first, second = c.submit(ASK), c.submit(ASK)
        begun = time.monotonic()
        wait([first, second])
        assert time.monotonic() - begun > 0.3
        assert first.result().text == second.result().text
    assert len(server.requests) == 3


@pytest.mark.parametrize("after", ["100000", "inf"])
def test_too_long_a_wait_is_an_error(server: Loopback, after: str) -> None:
    server.script.append(failure(429, "later", retry_after=after))
    with client(server) as c, pytest.raises(LMError, match="asks to wait"):
        c.complete(ASK)


@pytest.mark.parametrize("after", ["nan", "-5", "soon", ""])
def test_senseless_retry_after_is_passed_over(server: Loopback, after: str) -> None:
    server.script.append(failure(429, "later", retry_after=after))
    with client(server) as c:
        assert c.complete(ASK).text == "HI THERE"


def test_a_silent_server_times_out(server: Loopback) -> None:
    server.script.append(Reply(seconds=20.0))
    with client(server, timeout=0.2, max_retries=0) as c, pytest.raises(LMTimeoutError, match=r"within 0\.2 s"):
        c.complete(ASK)


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        OpenAIClient(f"http://127.0.0.1:{port}", "m", max_retries=1, backoff=0.01) as c,
        pytest.raises(LMTransportError, match=r"no connection .* is the server running\? \(2 attempts\)"),
    ):
        c.complete(ASK)


# -- errors -------------------------------------------------------------------------------------------

TOO_LONG = "This model's maximum context length is 4096 tokens."


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (failure(401), LMAuthError, "a key is needed; set LAMPC_API_KEY"),
        (failure(403, "no"), LMAuthError, "not allowed"),
        (failure(429, "pay first", "insufficient_quota"), LMBillingError, "no credit left (pay first)"),
        (failure(404, "what?"), LMUnsupportedModelError, "no model 'loop'; check the URL (it usually ends in /v1)"),
        (failure(400, "bad temperature"), LMInvalidRequestError, "refused (HTTP 400) (bad temperature)"),
        (failure(400, TOO_LONG), ContextWindowExceededError, "too long for model 'loop'; shorten it"),
        (failure(400, "no", "context_length_exceeded"), ContextWindowExceededError, "too long"),
        (Reply(307, b"", {"location": "http://x/"}), LMInvalidRequestError, "redirects elsewhere (HTTP 307)"),
        (Reply(400, {"detail": [{"msg": "odd"}]}), LMInvalidRequestError, "refused (HTTP 400) ([{'msg': 'odd'}])"),
        (Reply(400, b"\xff\xfe"), LMInvalidRequestError, "refused (HTTP 400)"),
        (Reply(200, b"<html>hello</html>"), LMUnexpectedError, "the answer is a web page"),
        (Reply(200, b"{"), LMUnexpectedError, "the answer is not JSON"),
        (Reply(200, b"[]"), LMUnexpectedError, "has no `choices`"),
        (Reply(200, {"choices": []}), LMUnexpectedError, "has no `choices`"),
        (Reply(200, {"choices": [{}]}), LMUnexpectedError, "has no `message`"),
        (Reply(200, {"choices": [{"message": {"content": 5}}]}), LMUnexpectedError, "content is int, not text"),
        (Reply(200, b"x" * (17 << 20)), LMCollectionLimitError, "longer than 16 MiB"),
        (Reply(200, b"no gzip at all" * 9, {"content-encoding": "gzip"}), LMUnexpectedError, "cannot be read"),
    ],
)
def test_errors_name_what_where_and_how(server: Loopback, reply: Reply, kind: type[Exception], said: str) -> None:
    server.script.append(reply)
    with client(server) as c, pytest.raises(LMError) as caught:
        c.complete(ASK)
    assert type(caught.value) is kind
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{server.url}/chat/completions: ")
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1, "such a request is not repeated"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("x", "x"),
        ("cut \ud83d", "cut \ufffd"),
        ([{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}], "ab"),
    ],
)
def test_forms_of_content(server: Loopback, content: object, text: str) -> None:
    server.script.append(Reply(200, {"choices": [{"message": {"content": content}, "finish_reason": None}]}))
    with client(server) as c:
        answer = c.complete(ASK)
    assert (answer.text, answer.finish, answer.prompt_tokens) == (text, "stop", 0)


def test_a_server_that_knows_other_words(server: Loopback) -> None:
    server.script.append(failure(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."))
    server.script.append(failure(400, "Unrecognized request argument: seed"))
    with client(server) as c:
        c.complete(ASK, max_tokens=9, seed=1)
        c.complete(ASK, max_tokens=9, seed=1)
    for request in server.requests[2:]:
        assert request["max_completion_tokens"] == 9
        assert not {"max_tokens", "seed"} & set(request)
    assert len(server.requests) == 4


# -- ends ---------------------------------------------------------------------------------------------


def test_closing_ends_what_is_under_way() -> None:
    with Loopback(echo, seconds=20.0) as server:
        c = client(server, max_concurrency=2)
        futures = [c.submit(ASK) for _ in range(5)]
        while len(server.requests) < 2:
            time.sleep(0.005)
        begun = time.monotonic()
        c.close()
        c.close()
        assert time.monotonic() - begun < 10.0
        for future in futures:
            with pytest.raises(CancelledError):
                future.result()
        with pytest.raises(LMError, match="client is closed"):
            c.submit(ASK)


def test_a_cancelled_call_gives_its_place_to_the_next() -> None:
    with Loopback(echo, script=[Reply(seconds=20.0)]) as server, client(server, max_concurrency=1) as c:
        first = c.submit(ASK)
        while not server.requests:
            time.sleep(0.005)
        second = c.submit(ASK)
        first.cancel()
        assert second.result(timeout=15).text == "HI THERE"


def test_a_client_that_is_forgotten_ends_its_thread(server: Loopback) -> None:
    before = set(threading.enumerate())
    c = client(server)
    c.complete(ASK)
    thread = next(t for t in threading.enumerate() if t.name == "lampc-endpoint" and t not in before)
    del c
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
