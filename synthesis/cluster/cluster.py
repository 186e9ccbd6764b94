"""Notes that say the same: claims within a post, stories across posts.

Everything here is a function of the set of notes, not of their order: rows are sorted by id first, and ids of clusters
derive from their members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nouns.post import NOT_MISLEADING, Note
from synthesis.cluster.neighbours import nearest
from texts.note import clean_text, find_urls, registered_domain, without_urls

Vectors = NDArray[np.float32]


def member_id(prefix: str, note_ids: Sequence[int]) -> str:
    """An id from the members: the same notes give the same id, whatever their order."""
    text = ",".join(str(note) for note in sorted(note_ids))
    return f"{prefix}{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def claim_text(text: str) -> str:
    """What of a note is embedded: the cleaned text without its links, blanks collapsed; of a note that is only links, their sites.

    A path of forty tokens says little about the claim, drowns the sentence before it, and doubles the time. The jury's encoder reads
    a note in the same way (`jury.model.features.strip_links`), so that one entry of the cache serves both and a note is embedded once.
    """
    text = clean_text(text)
    bare = " ".join(without_urls(text).split())
    return bare or " ".join(registered_domain(url.text) for url in find_urls(text))


def stance_of(classification: str) -> str:
    """'misleading' or 'not_misleading': what the note says of its post."""
    return "not_misleading" if classification == NOT_MISLEADING else "misleading"


@dataclass(frozen=True)
class Clustered:
    """One note's place. `similarity` is its mean cosine to the other members (1 when alone)."""

    note_id: int
    cluster_id: str
    stance: str
    duplicate_of: int | None
    similarity: float


@dataclass(frozen=True)
class AverageLinkage:
    """Agglomerative clustering by average cosine distance, stances apart, near-copies marked as duplicates.

    `distance` cuts the tree; `duplicate_distance` and `duplicate_overlap` say when a note is a copy of an earlier one.
    """

    distance: float = 0.45
    duplicate_distance: float = 0.05
    duplicate_overlap: float = 90.0

    def cluster(self, notes: Sequence[Note], vectors: Vectors) -> list[Clustered]:
        """One row per note, in the order of the note ids. `vectors`: unit rows in the order of `notes`."""
        order = sorted(range(len(notes)), key=lambda i: notes[i].note_id)
        placed: list[Clustered] = []
        for stance in ("misleading", "not_misleading"):
            rows = [i for i in order if stance_of(notes[i].classification) == stance]
            if not rows:
                continue
            similarity = np.clip(vectors[rows] @ vectors[rows].T, -1.0, 1.0)
            labels = self._labels(similarity)
            copies = self._duplicates([notes[i] for i in rows], similarity)
            for label in sorted(set(labels)):
                members = [k for k in range(len(rows)) if labels[k] == label]
                identity = member_id(f"{stance[0]}", [notes[rows[k]].note_id for k in members])
                for k in members:
                    others = [j for j in members if j != k]
                    mean = float(np.mean([similarity[k, j] for j in others])) if others else 1.0
                    placed.append(Clustered(notes[rows[k]].note_id, identity, stance, copies.get(k), round(mean, 4)))
        return sorted(placed, key=lambda row: row.note_id)

    def _labels(self, similarity: Vectors) -> list[int]:
        if len(similarity) == 1:
            return [0]
        if len(similarity) == 2:  # the common case, without the library's overhead
            return [0, 0] if 1.0 - similarity[0, 1] < self.distance else [0, 1]
        from scipy.cluster.hierarchy import fcluster, linkage

        apart = np.maximum(1.0 - similarity.astype(np.float64), 0.0)
        tree = linkage(apart[np.triu_indices(len(apart), 1)], "average")
        return [int(label) for label in fcluster(tree, np.nextafter(self.distance, 0.0), "distance")]

    def _duplicates(self, notes: Sequence[Note], similarity: Vectors) -> dict[int, int]:
        """Row -> note id of the earliest note it copies. A copy of a copy points to the first."""
        from rapidfuzz import fuzz

        found: dict[int, int] = {}
        for k in range(len(notes)):
            for j in range(k):
                if j in found or 1.0 - similarity[k, j] > self.duplicate_distance:
                    continue
                if fuzz.token_set_ratio(notes[k].text[:2000], notes[j].text[:2000]) >= self.duplicate_overlap:
                    found[k] = notes[j].note_id
                    break
        return found


@dataclass(frozen=True)
class Story:
    """The same claim noted on several posts."""

    story_id: str
    note_ids: tuple[int, ...]


def find_stories(
    note_ids: NDArray[np.int64],
    post_ids: NDArray[np.int64],
    stances: Sequence[str],
    vectors: Vectors,
    *,
    created_at: NDArray[np.int64] | None = None,
    days: float = 30.0,
    similarity: float = 0.80,
    neighbours: int = 10,
    max_posts: int = 200,
    block: int = 256,
    cores: int = 1,
) -> tuple[list[Story], dict[str, int]]:
    """Stories across posts: dense groups of a nearest-neighbour graph, stances apart.

    Each note is linked to its nearest notes on other posts whose cosine is at least `similarity` and which were written within `days` of
    it (`created_at` in milliseconds; a note without a time, 0, is compared with all). The search is exact; its cost grows with the notes times
    the notes of a window, its memory with the notes. HDBSCAN on the unit vectors of each connected component then cuts chains (a-b-c
    where a and c have little in common). Components on more than `max_posts` posts are templates ("this is spam"), not claims: refused and
    counted. Returns the stories in the order of their ids, and counts; both are the same for any `block` and `cores`.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    order = np.argsort(note_ids, kind="stable")
    ids, posts, rows = note_ids[order], post_ids[order], vectors[order]
    side = np.array([stances[i] == "misleading" for i in order], dtype=bool)
    times = np.zeros(len(ids), dtype=np.int64) if created_at is None else created_at[order]
    a, b = nearest(rows, times, posts, side, int(days * 86_400_000), similarity, neighbours, block, cores)
    counts = {"components": 0, "template_components": 0, "loose_components": 0}
    if not len(a):
        return [], counts
    graph = coo_matrix((np.ones(len(a), dtype=np.int8), (a, b)), shape=(len(ids), len(ids)))
    _, labels = connected_components(graph, directed=False)
    by_label = np.argsort(labels, kind="stable")
    groups = np.split(by_label, np.flatnonzero(np.diff(labels[by_label])) + 1)
    stories = []
    for members in groups:
        if len(members) < 2:
            continue
        counts["components"] += 1
        if len(set(posts[members].tolist())) > max_posts or len(members) > 20 * max_posts:
            counts["template_components"] += 1
            continue
        dense = _dense_groups(rows[members], similarity)
        counts["loose_components"] += len(dense) != 1 or len(dense[0]) < len(members)
        for group in dense:
            chosen = members[group]
            if len(set(posts[chosen].tolist())) >= 2:
                noted = tuple(int(note) for note in ids[chosen])
                stories.append(Story(member_id("s", noted), noted))
    return sorted(stories, key=lambda story: story.story_id), counts


def _dense_groups(rows: Vectors, similarity: float) -> list[NDArray[np.int64]]:
    """A component whose members are all alike as it is; a larger, looser one cut by HDBSCAN."""
    gram = rows @ rows.T
    if len(rows) < 6 or gram.min() >= similarity - 0.15:
        return [np.arange(len(rows))]
    from sklearn.cluster import HDBSCAN

    labels = HDBSCAN(min_cluster_size=2, metric="euclidean", allow_single_cluster=True, copy=True).fit_predict(
        rows.astype(np.float64)
    )
    return [np.flatnonzero(labels == label) for label in sorted(set(labels.tolist()) - {-1})]
