"""Types that stand in prompts as more than their JSON, held against dspy's; media on their way to a model."""

from __future__ import annotations

import base64
import json
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dspy
import dspy.experimental
import numpy as np
import pydantic
import pytest

import lampc
from lampc.frontend.python.values.plain import plain
from lampc.frontend.python.values.reading import read
from lampc.ir.limits import beyond
from lampc.ir.media import TextOnly, has_media, mark, marked, media, split, text_only
from tests.python.test_signatures_dspy import made
from tests.runtime.loopback import Loopback

PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
WAV = "data:audio/x-wav;base64,UklGRg=="
PDF = "data:application/pdf;base64,JVBERi0="


# -- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d.Image("https://a.org/b.png"),
        lambda d: d.Image(URI),
        lambda d: d.Image({"url": " gs://bucket/b.png "}),
        lambda d: d.Image(url="http://a.org/b"),
        lambda d: d.Image(d.Image(URI)),
        lambda d: d.Audio(WAV),
        lambda d: d.Audio(b"RIFF", audio_format="mp3"),
        lambda d: d.Audio({"data": "UklGRg==", "audio_format": "flac"}),
        lambda d: d.Audio(d.Audio(data="UklGRg==", audio_format="ogg")),
        lambda d: d.File(PDF),
        lambda d: d.File(b"%PDF-"),
        lambda d: d.File(PDF, filename="a.pdf"),
        lambda d: d.File.from_bytes(b"%PDF-", "b.pdf", "application/pdf"),
        lambda d: d.File.from_file_id("file-1", "c.pdf"),
        lambda d: d.File({"file_id": "x"}),
        lambda d: d.Code(code="x = 1"),
        lambda d: d.Code["java"](code="```java\nint x;\n```"),
        lambda d: d.Code(code="say ``` y = 2 ``` now"),
        lambda d: d.Reasoning(content="so"),
        lambda d: d.experimental.Document(data="text", title="t", context="c"),
        lambda d: d.experimental.Document(data="JVBERi0=", media_type="application/pdf"),
        lambda d: d.experimental.Citations.from_dict_list(
            [
                {
                    "cited_text": "a",
                    "document_index": 0,
                    "start_char_index": 1,
                    "end_char_index": 2,
                    "supported_text": "b",
                }
            ]
        ),
    ],
)
def test_values_are_written_as_dspy_writes_them(make: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dspy's mark of what is experimental
        theirs = make(dspy).format()
    ours = make(lampc)
    assert ours.format() == theirs
    assert ours == make(lampc)
    assert hash(ours) if type(ours).model_config.get("frozen") else True


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: lampc.Image("cat.png"), ValueError, "read a file by Image.from_path"),
        (lambda: lampc.Image(b"no image"), ValueError, "no PNG, JPEG, GIF, WebP or BMP"),
        (lambda: lampc.Image(3), ValueError, "not int"),
        (lambda: lampc.Image(URI, url=URI), TypeError, "not both"),
        (lambda: lampc.Image(download=True, url="http://a.b/c"), TypeError, "go with a source"),
        (lambda: lampc.Image.from_url("file:///etc/passwd"), ValueError, "http:// or https://"),
        (lambda: lampc.Image.from_path("/nowhere/x.png"), ValueError, "there is no file"),
        (lambda: lampc.Audio("sound.wav"), ValueError, "Audio.from_path"),
        (lambda: lampc.Audio(WAV, audio_format="mp3"), TypeError, "its own format"),
        (lambda: lampc.Audio(b"", sampling_rate=8000), TypeError, "for arrays"),
        (lambda: lampc.Audio(np.zeros(3), audio_format="opus"), ImportError, "soundfile"),
        (lambda: lampc.File("paper.pdf"), ValueError, "File.from_path"),
        (lambda: lampc.File({}), ValueError, "file_data, file_id or filename"),
        (lambda: lampc.File(PDF, file_data=PDF), TypeError, "file_data from the source and by name"),
        (lambda: lampc.Code(code=3), pydantic.ValidationError, "code is a text"),
        (lambda: lampc.Reasoning(content=None), pydantic.ValidationError, "reasoning is a text"),
        (lambda: lampc.Image(URI, colour=1), pydantic.ValidationError, "colour"),
    ],
)
def test_what_is_none_is_refused_with_the_way_out(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_files_are_read_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b").write_bytes(PNG)
    (tmp_path / "c.wav").write_bytes(b"RIFF")
    (tmp_path / "d.pdf").write_bytes(b"%PDF-")
    assert lampc.Image.from_path(tmp_path / "a.png").url == URI
    assert lampc.Image.from_path(tmp_path / "b").url == URI
    assert (
        lampc.Audio.from_path(str(tmp_path / "c.wav")).format()
        == dspy.Audio.from_path(str(tmp_path / "c.wav")).format()
    )
    assert (
        lampc.File.from_path(str(tmp_path / "d.pdf")).format() == dspy.File.from_path(str(tmp_path / "d.pdf")).format()
    )
    with pytest.raises(ValueError, match="not audio"):
        lampc.Audio.from_path(tmp_path / "a.png")
    with pytest.warns(DeprecationWarning, match="from_path"):
        assert lampc.Image.from_file(tmp_path / "a.png").url == URI


def test_arrays_are_wave_files() -> None:
    import io
    import wave

    made = lampc.Audio(np.array([0.0, 0.5, -1.0, 2.0]), sampling_rate=8000)
    with wave.open(io.BytesIO(base64.b64decode(made.data))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert np.frombuffer(file.readframes(9), "<i2").tolist() == [0, 16384, -32768, 32767]


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = {"/a.png": ("image/png", PNG), "/b": ("audio/x-wav; charset=x", b"RIFF"), "/c": ("text/html", b"no")}
        kind, content = found.get(self.path, ("", b""))
        self.send_response(200 if kind else 404)
        if kind:
            self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


def test_urls_are_fetched_when_asked_for(site: str) -> None:
    assert lampc.Image.from_url(f"{site}/a.png").url == URI
    assert lampc.Image(f"{site}/a.png").url == f"{site}/a.png"
    with pytest.warns(DeprecationWarning, match="from_url"):
        assert lampc.Image(f"{site}/a.png", download=True).url == URI
    assert lampc.Audio.from_url(f"{site}/b").audio_format == "wav"
    with pytest.raises(ValueError, match="text/html, not audio"):
        lampc.Audio.from_url(f"{site}/c")
    with pytest.raises(ValueError, match="cannot be fetched"):
        lampc.Image.from_url(f"{site}/nothing")


def test_images_of_pillow_are_encoded() -> None:
    class Picture:
        format = None

        def save(self, out: Any, format: str) -> None:
            out.write(PNG)

    assert lampc.Image(Picture()).url == URI


def test_code_in_other_languages_is_one_class_each() -> None:
    assert lampc.Code["java"] is lampc.Code["java"]
    assert lampc.Code["java"].language == "java"
    assert lampc.Code.language == "python"
    assert read(lampc.Code["java"], {}).lift("```java\nint x;\n```").code == "int x;"


def test_reasoning_is_a_text() -> None:
    made = read(lampc.Reasoning, {}).lift("because it is")
    assert isinstance(made, lampc.Reasoning)
    assert made == "because it is"
    assert made.upper() == "BECAUSE IT IS"
    assert f"{made}!" + "?" == "because it is!?"
    assert "so " + made == "so because it is"
    assert (len(made), made[:7], "it" in made, made.split()[-1]) == (13, "because", True, "is")
    assert {made: 1}["because it is"] == 1
    with pytest.raises(AttributeError, match="methods of a str"):
        made.nothing  # noqa: B018


def test_histories_grow_and_are_trimmed() -> None:
    empty = lampc.History(messages=[])
    two = empty.with_turn(question="a b", answer="c").with_turn(question="d", answer="e f g")
    assert (len(empty), len(two)) == (0, 2)
    assert two.last(1).messages == [{"question": "d", "answer": "e f g"}]
    assert two.last(0).messages == []
    count = lambda text: len(text.split())  # noqa: E731
    assert two.trimmed(4, count) == two.last(1)
    assert two.trimmed(7, count) == two
    assert two.trimmed(3, count).messages == []
    assert lampc.History.model_validate_json(two.model_dump_json()) == two
    assert read(lampc.History, {}).lift(plain(two)) == two


# -- media in prompts ---------------------------------------------------------------------------------------


def messages(system: Any) -> Any:
    kinds = {
        "image": system.Image, "more": list[system.Image], "named": dict[str, system.Image], "sound": system.Audio,
        "paper": system.File, "question": str,
    }  # fmt: skip
    fields = {n: ("input", t, {}) for n, t in kinds.items()}
    look = made(system, {**fields, "answer": ("output", str, {})}, "Look.")
    image = system.Image(URI)
    values = {
        "image": image, "more": [image, system.Image("https://a.org/'x'.png")], "named": {"a": image},
        "sound": system.Audio(WAV), "paper": system.File(PDF, filename='"q".pdf'), "question": "What?",
    }  # fmt: skip
    demo = {**values, "answer": "It."}
    return system.ChatAdapter().format(look, [demo], values)


def test_messages_hold_the_same_parts_as_dspys() -> None:
    assert messages(lampc) == messages(dspy)


def test_marks_cannot_be_forged() -> None:
    image = plain(lampc.Image(URI))
    whole = "see " + mark(image) + " and \ufdd0" + marked("\ufdd0eyJ9\ufdd1")
    found = split(whole)
    assert isinstance(found, list)
    assert [p["type"] for p in found] == ["text", "image_url", "text"]
    assert marked({"a": ["\ufdd0x\ufdd1"]}) == {"a": ["\ufffdx\ufffd"]}
    assert split("plain") == "plain"
    assert not has_media(marked("\ufdd0x\ufdd1"))


def test_readers_of_text_say_what_they_cannot_read() -> None:
    assert text_only("x", "m") == "x"
    with pytest.raises(TextOnly, match=r"`m` reads text only, .* `file` and .*`image_url`"):
        text_only(mark(media([{"type": "file"}, {"type": "image_url"}])), "m")


class Look(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.look = lampc.Predict("image: lampc.Image, question -> answer", layout="chat")

    def forward(self, image: lampc.Image, question: str) -> lampc.Prediction:
        return lampc.Prediction(answer=self.look(image=image, question=question).answer)


def test_endpoints_get_parts_and_local_models_refuse_them() -> None:
    rows = [{"image": lampc.Image(URI), "question": "a"}, {"image": lampc.Image("https://a.org/b"), "question": "b"}]
    assert lampc.trace(Look()).dynamic is None
    with Loopback(lambda _: "[[ ## answer ## ]]\nyes") as server, lampc.context(lm=server.url):
        direct = Look()(**rows[0])
        batched = Look().batch(rows)
    assert [p.answer for p in (direct, *batched)] == ["yes"] * 3
    sent = [r["messages"][-1]["content"] for r in server.requests]
    assert {json.dumps(next(p["image_url"]["url"] for p in c if p["type"] == "image_url")) for c in sent} == {
        json.dumps(URI), json.dumps("https://a.org/b"),
    }  # fmt: skip
    with lampc.context(lm="firefly"):
        with pytest.raises(Exception, match=r"`firefly` reads text only, .* content of type `image_url`"):
            Look()(**rows[0])
        assert Look().batch(rows) == [None, None]


def test_types_of_ones_own() -> None:
    class Event(lampc.Type):
        name: str
        day: int = 1

        def format(self) -> str:
            return f"{self.name} on day {self.day}"

    class Bare(lampc.Type):
        name: str

    assert plain(Event(name="x")) == "x on day 1"
    assert plain({"e": [Event(name="y", day=2)]}) == {"e": ["y on day 2"]}
    assert plain(Bare(name="z")) == {"name": "z"}
    assert read(Event, {}).lift({"name": "x", "day": "3"}) == Event(name="x", day=3)
    assert lampc.Type.extract_custom_type_from_annotation(dict[str, list[Event] | None]) == [Event]

    class Page(pydantic.BaseModel):
        image: lampc.Image

    assert plain(Page(image=lampc.Image(URI))) == {"image": plain(lampc.Image(URI))}


# -- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "limits", "why"),
    [
        (3, {"ge": 3, "le": 3}, None),
        (3, {"gt": 3}, "must be greater than 3, got 3"),
        (2.5, {"lt": 2.5}, "must be less than 2.5, got 2.5"),
        (11, {"le": 10}, "must be at most 10, got 11"),
        (0.3, {"multiple_of": 0.1}, None),
        (7, {"multiple_of": 2}, "must be a multiple of 2, got 7"),
        (float("inf"), {"allow_inf_nan": False}, "must be a finite number, got inf"),
        ("ab", {"min_length": 3}, "must be at least 3 long, got 'ab', which is 2 long"),
        ([1, 2], {"max_length": 1}, "must be at most 1 long, got [1, 2], which is 2 long"),
        ("ab1", {"pattern": "^[a-z]+$"}, "must be of the pattern ^[a-z]+$, got 'ab1'"),
        (None, {"ge": 0, "min_length": 2}, None),
        (True, {"gt": 5}, None),
        ("x", {"gt": 5}, None),
    ],
)
def test_limits(value: Any, limits: dict[str, Any], why: str | None) -> None:
    assert beyond(value, limits) == why


@pytest.mark.parametrize(
    ("wrote", "fails"),
    [("3", ""), ("-1", "output `score`: must be at least 0"), ("11", "output `score`: must be at most 10")],
)
def test_answers_are_held_to_limits(wrote: str, fails: str) -> None:
    class Rate(lampc.Signature):
        text: str = lampc.InputField(default="nothing")
        score: int = lampc.OutputField(ge=0, le=10)
        note: str | None = lampc.OutputField()
        tags: list[str] = lampc.OutputField(default_factory=list)

    with lampc.context(lm=lambda messages, **_: f"[[ ## score ## ]]\n{wrote}", layout="chat"):
        if fails:
            with pytest.raises(Exception, match=fails):
                lampc.Predict(Rate)()
        else:
            assert lampc.Predict(Rate)().toDict() == {"score": 3, "note": None, "tags": []}
