"""Clustering and jury read a note in the same way, so that it is embedded once in a workspace."""

from __future__ import annotations

import numpy as np
import pytest

from jury.model.encoders import make_encoder
from jury.model.features import strip_links
from synthesis.cluster.cluster import claim_text
from texts import embedding
from texts.embedding import load_embedder

NOTES = [
    "The ferry was built in 1974. https://ferry.example/aurelia?utm_source=x",
    "  The   ferry\nwas &quot;new&quot;. ",
    "https://a.example see here https://b.example/c. Later it rose\u200b.",
    "船は1974年に造られた。https://ferry.example/a",
]


@pytest.mark.parametrize("text", NOTES)
def test_both_rooms_embed_the_same_words(text):
    assert claim_text(text) == strip_links(text)


def test_what_the_clusters_have_embedded_the_jury_does_not_embed_again(tmp_path, monkeypatch):
    asked: list[str] = []

    def embed(self, texts):
        asked.extend(texts)
        rows = np.random.default_rng(len(asked)).normal(size=(len(texts), 384))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr(embedding.MiniLM, "embed", embed)
    for_clusters = load_embedder("minilm", tmp_path).embed([claim_text(note) for note in NOTES])
    assert len(asked) == len(NOTES)
    for_jury = make_encoder("minilm", tmp_path).encode(NOTES)
    assert len(asked) == len(NOTES)
    np.testing.assert_array_equal(for_jury, for_clusters)
    make_encoder("minilm", tmp_path).encode([*NOTES, "A new note."])
    assert asked[len(NOTES) :] == ["A new note."]
