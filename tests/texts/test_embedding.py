"""Embedders and their cache."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import texts.embedding as embedding
from nouns.errors import InputError
from texts.embedding import CachedEmbedder, HashingNgrams, MiniLM, MiniLMOpenVINO, load_embedder

TEXTS = ["The bridge was closed by the engineer.", "A crack closed the bridge.", "", "Los precios subieron un 4 %."]


class Counting:
    """Hashed n-grams that count how many texts they were asked for."""

    name = "counting"
    width = 512

    def __init__(self):
        self.asked = 0
        self.inner = HashingNgrams()

    def embed(self, texts):
        self.asked += len(texts)
        return self.inner.embed(texts)


def test_rows_have_unit_length_and_a_text_without_content_is_the_zero_row():
    rows = HashingNgrams().embed(TEXTS)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 0, 1], abs=1e-3)
    assert rows.dtype == np.float32
    assert HashingNgrams().embed([]).shape == (0, 512)


def test_hashed_ngrams_find_alike_what_shares_words():
    a, b, _, d = HashingNgrams().embed(TEXTS)
    assert a @ b > 0.3 > a @ d


def test_minilm_knows_a_paraphrase_and_its_result_does_not_depend_on_the_company():
    model = MiniLM(batch=2)
    texts = ["The mayor did not close the bridge.", "It was not the mayor who shut the crossing.", "Rents rose by 4 %.", "x " * 3000]  # fmt: skip
    together = model.embed(texts)
    assert together[0] @ together[1] > 0.7 > 0.3 > together[0] @ together[2]
    assert np.array_equal(together, np.vstack([model.embed([text]) for text in texts]))
    assert np.array_equal(together[::-1], model.embed(texts[::-1]))
    theirs = model._load().encode(texts, normalize_embeddings=True)
    assert np.abs(together - theirs).max() < 2e-3  # half precision of numbers below 0.5: steps of 0.00025


def test_weights_that_are_not_the_known_ones_are_refused(monkeypatch):
    monkeypatch.setattr(embedding, "MINILM_SHA256", "0" * 64)
    with pytest.raises(InputError, match="not the known ones"):
        MiniLM().embed(["a"])


def test_a_text_is_embedded_once_and_equal_rows_come_back(tmp_path):
    inner = Counting()
    first = CachedEmbedder(inner, tmp_path).embed(TEXTS)
    assert inner.asked == 4
    again = CachedEmbedder(inner, tmp_path).embed([*reversed(TEXTS), TEXTS[0]])
    assert inner.asked == 4
    assert np.array_equal(again[:4][::-1], first)
    assert np.array_equal(again[4], first[0])


def test_the_cache_may_be_deleted_broken_or_impossible(tmp_path):
    inner = Counting()
    cached = CachedEmbedder(inner, tmp_path)
    first = cached.embed(TEXTS)
    for path in tmp_path.iterdir():
        path.unlink()
    assert np.array_equal(cached.embed(TEXTS), first)
    (tmp_path / "counting.sqlite").write_bytes(b"this is no database" * 100)
    for path in tmp_path.glob("*-*"):
        path.unlink()
    assert np.array_equal(CachedEmbedder(inner, tmp_path).embed(TEXTS), first)
    (tmp_path / "file").write_text("")
    assert np.array_equal(CachedEmbedder(inner, tmp_path / "file").embed(TEXTS), first)


def test_without_a_directory_vectors_are_kept_in_memory():
    inner = Counting()
    cached = CachedEmbedder(inner)
    cached.embed(TEXTS)
    cached.embed(TEXTS)
    assert inner.asked == 4


class Lengths:
    """A vector anybody can compute, and no library to import in every process."""

    name = "lengths"
    width = 2

    def embed(self, texts):
        rows = np.array([[len(text), int(text.split()[1])] for text in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _fill(directory, start):
    return CachedEmbedder(Lengths(), directory).embed([f"text {i % 50}" for i in range(start, start + 50)])


def test_processes_share_the_cache(tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(_fill, [tmp_path] * 3, [0, 10, 20]))
    assert np.array_equal(results[0][20], results[2][0])
    with sqlite3.connect(next(tmp_path.glob("*.sqlite"))) as connection:
        assert connection.execute("select count(*) from vectors").fetchone() == (50,)


def test_an_unknown_embedder_is_refused_with_the_known_names():
    with pytest.raises(InputError, match=r"hashing.*minilm"):
        load_embedder("miniml")


def test_openvino_gives_the_same_vectors_as_torch():
    pytest.importorskip("openvino")
    texts = [
        "The bridge was closed in 2019.",
        "",
        "Officials say the video is old: it shows a storm of 2011, not of this week.",
    ]
    rows, expected = MiniLMOpenVINO(batch=2).embed(texts), MiniLM().embed(texts)
    assert (rows * expected).sum(axis=1) == pytest.approx([1, 0, 1], abs=1e-3)
    assert load_embedder("minilm-openvino").name != load_embedder("minilm").name
