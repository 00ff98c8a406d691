"""Stores behind one protocol: exact vectors against numpy, FAISS and Chroma for real, servers on this machine."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import dspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lampc
from lampc.ir.errors import LMError
from lampc.ir.lookup import Hit
from lampc.retrievers import BM25, ChromaStore, ColBERTv2, Embedder, FaissStore, RetrieverError, Store, Vectors
from lampc.runtime.retrieval.combine import Combiner
from lampc.runtime.retrieval.protocol import as_store

CORPUS = [f"passage {i}: {w}" for i, w in enumerate(["lamp", "river", "state", "light", "old", "light"])]
ASKED: list[list[str]] = []


def letters(texts: list[str]) -> np.ndarray[Any, Any]:
    """How often each letter occurs: near texts have near vectors."""
    ASKED.append(list(texts))
    return np.array([[t.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], dtype=np.float64)


@pytest.fixture(autouse=True)
def fresh() -> None:
    ASKED.clear()


def naive(query: str, k: int, corpus: list[str]) -> list[int]:
    """Cosines one by one."""

    def unit(v: Any) -> Any:
        return np.float32(v) / max(float(np.linalg.norm(np.float32(v))), 1e-10)

    vectors = [unit(v) for v in letters(corpus)]
    wanted = unit(letters([query])[0])
    scores = [float(np.einsum("d,d->", wanted, v)) for v in vectors]
    return sorted(range(len(corpus)), key=lambda i: (-scores[i], i))[:k]


def test_vectors_find_what_the_cosines_say() -> None:
    store = Vectors(CORPUS, letters)
    for query in ("light", "an old state", "rivers", "zzz"):
        hits = store.search_many([query], 3)[0]
        assert [h.index for h in hits] == naive(query, 3, CORPUS)
        assert [h.text for h in hits] == [CORPUS[h.index] for h in hits]
        assert store.search(query, 2) == [h.text for h in hits[:2]]
    assert [h.index for h in store.search_many(["light"], 2)[0]] == [3, 5]  # equal ones keep their order
    assert store.search_many(["x", "y"], 0) == [[], []]
    assert store.search_many([], 3) == []
    with pytest.raises(ValueError, match="k is -1"):
        store.search_many(["x"], -1)
    with pytest.raises(ValueError, match="at least one passage"):
        Vectors([], letters)
    with pytest.raises(ValueError, match="2 passages, but 1 vectors"):
        Vectors(["a", "b"], letters, vectors=[[1.0]])
    with pytest.raises(RetrieverError, match="has 26 numbers, those of the corpus 2"):
        Vectors(["a"], letters, vectors=[[1.0, 2.0]]).search("a", 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("abc ", max_size=6), min_size=1, max_size=9), st.lists(st.text("abc ", max_size=6), max_size=9))
def test_a_query_finds_the_same_alone_and_among_others(corpus: list[str], queries: list[str]) -> None:
    rng = np.random.default_rng(len(corpus))
    project = rng.standard_normal((26, 33)).astype(np.float32)
    store = Vectors(corpus, lambda texts: letters(texts) @ project)
    together = store.search_many(queries, 4)
    assert together == [store.search_many([q], 4)[0] for q in queries]


def test_as_dspy_finds_them() -> None:
    corpus = ["a lamp", "river bend", "the state of things", "light", "an old mill", "seventeen geese"]
    for normalize in (True, False):
        theirs = dspy.retrievers.EmbeddingsWithScores(corpus, dspy.Embedder(letters), k=4, normalize=normalize)
        ours = lampc.EmbeddingsWithScores(corpus, Embedder(letters), k=4, normalize=normalize)
        for query in ("light", "an old state", "a river"):
            a, b = ours(query), theirs(query)
            assert a.passages == b.passages
            assert a.indices == [int(i) for i in b.indices]
            assert a.scores == pytest.approx([float(s) for s in b.scores], abs=1e-6)
    assert sorted(lampc.Embeddings(CORPUS, letters, k=2)("light").keys()) == ["indices", "passages"]


def test_embeddings_are_saved_and_read_by_either_side(tmp_path: Path) -> None:
    ours = lampc.Embeddings(CORPUS, letters, k=2)
    ours.save(tmp_path / "ours")
    dspy.retrievers.Embeddings(CORPUS, dspy.Embedder(letters), k=2).save(str(tmp_path / "theirs"))
    ASKED.clear()
    for folder in ("ours", "theirs"):
        read = lampc.Embeddings.from_saved(tmp_path / folder, letters)
        assert ASKED == []  # nothing is embedded anew
        assert read("light").indices == ours("light").indices
        ASKED.clear()
    theirs = dspy.retrievers.Embeddings.from_saved(str(tmp_path / "ours"), dspy.Embedder(letters))
    assert list(theirs("light").indices) == ours("light").indices
    with pytest.raises(RetrieverError, match=r"there is no config\.json"):
        lampc.Embeddings.from_saved(tmp_path, letters)
    (tmp_path / "ours" / "config.json").write_text("{}")
    with pytest.raises(RetrieverError, match="not saved embeddings: KeyError"):
        lampc.Embeddings.from_saved(tmp_path / "ours", letters)


# -- packages of others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF4,Flat"])
def test_faiss_finds_what_exact_search_finds(factory: str) -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 32)).astype(np.float32)
    corpus = [str(i) for i in range(500)]
    embed = lambda texts: vectors[[int(t) for t in texts]]  # noqa: E731
    exact, store = Vectors(corpus, embed), FaissStore(corpus, embed, factory=factory, nprobe=4)
    queries = [str(i) for i in range(0, 500, 25)]
    for mine, theirs in zip(store.search_many(queries, 5), exact.search_many(queries, 5), strict=True):
        assert mine == theirs if factory != "HNSW16" else mine[0] == theirs[0]
    assert exact.identity != store.identity


def test_large_corpora_go_to_faiss() -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 64)).astype(np.float32)
    corpus = [str(i) for i in range(400)]
    embed = lambda texts: vectors[[int(t) for t in texts]]  # noqa: E731
    found = lampc.Embeddings(corpus, embed, k=3, brute_force_threshold=400)
    assert isinstance(found.store, FaissStore)
    assert found("17").indices[0] == 17
    assert not isinstance(lampc.Embeddings(corpus, embed, brute_force_threshold=401).store, FaissStore)


def test_chroma_in_memory_and_on_disk(tmp_path: Path) -> None:
    pytest.importorskip("chromadb", reason="needs chromadb")
    exact = Vectors(CORPUS, letters)
    store = ChromaStore("facts", letters, CORPUS, path=tmp_path)
    for query in ("light", "an old state"):
        mine, theirs = store.search_many([query], 3)[0], exact.search_many([query], 3)[0]
        assert [h.score for h in mine] == pytest.approx([h.score for h in theirs], abs=1e-5)
        assert {h.index for h in mine[:2]} == {h.index for h in theirs[:2]}
        assert all(CORPUS[h.index] == h.text for h in mine)
    ASKED.clear()
    again = ChromaStore("facts", letters, [*CORPUS, "new: a meadow"], path=tmp_path)
    assert ASKED == [["new: a meadow"]]  # only what the folder lacks
    assert again.search("meadow", 1) == ["new: a meadow"]
    assert len(again.search_many(["x"], 99)[0]) == 7
    with pytest.raises(RetrieverError, match="`nothing` is empty"):
        ChromaStore("nothing", letters)
    one, other = (ChromaStore("same", letters, [text]) for text in ("a meadow", "a river"))
    assert (one.search("x", 5), other.search("x", 5)) == (["a meadow"], ["a river"])


# -- embedders ------------------------------------------------------------------------------------------------


def test_texts_are_embedded_once_and_in_batches() -> None:
    embed = Embedder(letters, batch_size=2)
    first = embed(["ab", "b", "ab", "cc"])
    assert first.dtype == np.float32
    assert first[0].tolist() == first[2].tolist()
    assert ASKED == [["ab", "b"], ["cc"]]
    assert embed("ab").shape == (26,)
    assert embed(["b", "d"])[0].tolist() == first[1].tolist()
    assert ASKED[2:] == [["d"]]
    embed(["ab"], caching=False)
    assert ASKED[3:] == [["ab"]]
    assert asyncio.run(embed.acall(["b"])).tolist() == [first[1].tolist()]
    for wrong, said in (
        (lambda t: [[1.0]], "1 vectors for 2 texts"),
        (lambda t: [[1.0], [float("nan")]], "finite"),
        (lambda t: [1.0, 2.0], r"shape \(2,\)"),
        (lambda t: [[1.0], [1.0, 2.0]], "all of one length"),
    ):
        with pytest.raises(ValueError, match=said):
            Embedder(wrong)(["a", "b"])
    with pytest.raises(ValueError, match="an encoder's folder or the name of a model at an endpoint, not Signature"):
        Embedder(lampc.Predict("a -> b").signature.ir())
    with pytest.raises(ValueError, match="a text or a list"):
        embed([1])


class _Server(BaseHTTPRequestHandler):
    """`/v1/embeddings` as endpoints have it, and a ColBERT server's search."""

    seen: ClassVar[list[Any]] = []

    def _json(self, data: Any, status: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(data)
        if self.path.endswith("/embeddings"):
            vectors = letters(data["input"]).tolist()
            self._json({"data": [{"index": i, "embedding": v} for i, v in reversed(list(enumerate(vectors)))]})
        else:
            self._search(data["query"], data["k"])

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        self.seen.append(asked)
        self._search(asked["query"][0], int(asked["k"][0]))

    def _search(self, query: str, k: int) -> None:
        if query == "bad":
            self._json({"error": True, "message": "no index"})
        elif query == "odd":
            self._json({"found": []})
        elif query == "broken":
            self._json({}, 503)
        else:
            self._json({"topk": [{"text": f"{query} {i}", "pid": i, "score": 9 - i} for i in range(k + 2)]})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    _Server.seen.clear()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    made.server_close()
    thread.join(5)


def test_vectors_of_an_endpoint(server: str) -> None:
    embed = Embedder("openai/tiny", api_base=f"{server}/v1", dimensions=26)
    try:
        assert embed(["ab", "c"]).tolist() == letters(["ab", "c"]).tolist()
        assert _Server.seen[0] == {"model": "tiny", "input": ["ab", "c"], "dimensions": 26}
    finally:
        embed.close()
    lost = Embedder("tiny", api_base="http://127.0.0.1:9/v1", num_retries=0, timeout=2)
    try:
        with pytest.raises(LMError, match=r"127\.0\.0\.1:9"):
            lost("x")
    finally:
        lost.close()


@pytest.mark.slow  # importing litellm takes seconds
def test_vectors_through_litellm(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("litellm", reason="needs litellm")
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", f"{server}/v1")
    assert Embedder("hosted_vllm/tiny")(["ab", "c"]).tolist() == letters(["ab", "c"]).tolist()
    assert _Server.seen[-1]["model"] == "tiny"


@pytest.mark.parametrize("post", [False, True])
def test_colbert(server: str, post: bool) -> None:
    rm = ColBERTv2(f"{server}/api/search", post_requests=post)
    found = rm("lamps & more", k=2)
    assert [p.long_text for p in found] == ["lamps & more 0", "lamps & more 1"]
    assert found[0]["pid"] == 0
    assert rm("x", k=1, simplify=True) == ["x 0"]
    assert rm.search_many(["a", "b"], 1) == [[Hit("a 0", 9.0, 0)], [Hit("b 0", 9.0, 0)]]
    for query, said in (("bad", "no index"), ("odd", "no `topk`"), ("broken", "HTTP 503")):
        with pytest.raises(RetrieverError, match=said):
            rm(query)
    with pytest.raises(ValueError, match="k is 101"):
        rm("x", k=101)
    with pytest.raises(RetrieverError, match="no URL of a server"):
        ColBERTv2("lamp")
    with pytest.raises(RetrieverError, match=r"127\.0\.0\.1:9"):
        ColBERTv2("http://127.0.0.1", 9, timeout=2)("x")


# -- the protocol ---------------------------------------------------------------------------------------------


def test_whatever_can_be_searched_is_a_store() -> None:
    class Own:
        def search_many(self, queries: Any, k: int) -> Any:
            return [[Hit(q)] for q in queries]

    class Records:
        def search(self, query: str, k: int) -> Any:
            return [{"long_text": query, "score": 2}, dspy.Example(long_text="b")][:k]

    own = Own()
    assert as_store(own) is as_store(own)
    assert as_store(own).search("q", 1) == ["q"]
    assert as_store(Records()).search_many(["q"], 2) == [[Hit("q", 2.0), Hit("b")]]
    assert as_store(lambda query, k: [query] * k).search("q", 2) == ["q", "q"]
    assert as_store(lambda query, k: lampc.Prediction(passages=["p"])).search("q", 2) == ["p"]
    assert isinstance(as_store(BM25(CORPUS)), Store)
    with pytest.raises(RetrieverError, match="int is no store"):
        as_store(3)
    with pytest.raises(RetrieverError, match="gives texts, or records"):
        as_store(lambda query, k: [5]).search("q", 1)


def test_threads_are_searched_for_together() -> None:
    gate, batches = threading.Event(), []

    def search(queries: Any) -> list[Any]:
        batches.append(len(queries))
        gate.wait(5)
        return [ValueError("bad") if q == "9" else [Hit(q)] for q in queries]

    combiner: Combiner[str, list[Hit]] = Combiner(search)
    found: dict[int, Any] = {}

    def ask(i: int) -> None:
        try:
            found[i] = combiner.ask(str(i))
        except ValueError as e:
            found[i] = e

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(10)]
    for t in threads:
        t.start()
    while combiner.waiting < 9:
        time.sleep(0.001)
    gate.set()
    for t in threads:
        t.join(5)
    assert batches == [1, 9]
    assert [found[i] for i in range(9)] == [[Hit(str(i))] for i in range(9)]
    assert isinstance(found[9], ValueError)


def test_firefly_embeds_nothing_and_says_so() -> None:
    with pytest.raises(
        ValueError, match=r"'firefly' gives no vectors: architecture 'LlamaForCausalLM' is not supported"
    ):
        Embedder("firefly")
