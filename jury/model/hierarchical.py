"""The project's rater model: post and stance effects, note effects with priors from text, raters through their parameters.

The mathematics is in README.md (equations 1 to 3). In one paragraph: a rater u answers note n through a linear predictor
`mu + i_u + kappa_i i_n + kappa_f f_u f_n`. The note's intercept and factor are Gaussian: a mean linear in the text's features, plus
what the notes of a post share by stance, plus what similar notes share, plus the note's own. The siblings' ratings or published
parameters condition that Gaussian in closed form; the uncertainty left goes into the probabilities (a logistic whose scale
grows with it), into `sd` and into `sd_within`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.model.content import (
    CONTENT_NAMES,
    GUARD_NAMES,
    READ_NAMES,
    Around,
    Lexicon,
    address_phrase,
    addresses_of,
    guards,
    no_lexicon,
    reading,
)
from jury.model.encoders import Encoder
from jury.model.features import (
    FORM_NAMES,
    N_LETTER_BUCKETS,
    N_WORD_BUCKETS,
    form_features,
    read_text,
    said,
    sparse_block,
    stance_index,
)
from jury.model.gaussian import Kernel, SiblingPosterior, condition, difference_variance, predict
from jury.model.relations import LIKENESS, RELATION_NAMES, describe, relate
from jury.model.trees import Forest, no_forest
from jury.records import JudgedText, Jury, RatedTexts, Ratings, Sibling, side_of

Array = NDArray[Any]
REMEMBERED_NUMBERS = 4_000_000
"""What a model remembers of siblings at once, in numbers of eight bytes: some thousand ordinary posts, or one of a thousand notes."""
FOREST_READS = ("form", "embedding", "content")


@dataclass(frozen=True)
class Design:
    """How texts become columns of the linear part: scaling of the form block, main axes of embedding, words and letters, which blocks are used.

    `word_rarity` (buckets,) multiplies the hashed counts before they are normalised, `word_axes` (buckets, k) are their main axes; the same
    for letters. `relation_centre` and `relation_scale` (6,) belong to the columns of models/relations.py, `lexicon` and `content_centre` to model/content.py. `forest` reads the form block and the
    embedding's axes; its mean answer divided by `forest_scale` is one column. Unused blocks have empty arrays.
    """

    form_mean: Array
    form_scale: Array
    embedding_mean: Array
    embedding_axes: Array
    blocks: tuple[str, ...]
    word_rarity: Array = field(default_factory=lambda: np.zeros(N_WORD_BUCKETS))
    word_axes: Array = field(default_factory=lambda: np.zeros((N_WORD_BUCKETS, 0)))
    letter_rarity: Array = field(default_factory=lambda: np.zeros(N_LETTER_BUCKETS))
    letter_axes: Array = field(default_factory=lambda: np.zeros((N_LETTER_BUCKETS, 0)))
    forest: Forest = field(default_factory=no_forest)
    forest_scale: float = 1.0
    relation_centre: Array = field(default_factory=lambda: np.zeros(len(RELATION_NAMES)))
    relation_scale: Array = field(default_factory=lambda: np.ones(len(RELATION_NAMES)))
    lexicon: Lexicon = field(default_factory=no_lexicon)
    content_centre: Array = field(default_factory=lambda: np.zeros(len(CONTENT_NAMES)))

    def widths(self) -> dict[str, int]:
        all_widths = {
            "constant": 1,
            "form": len(FORM_NAMES),
            "embedding": self.embedding_axes.shape[1],
            "words": self.word_axes.shape[1],
            "letters": self.letter_axes.shape[1],
            "relations": len(RELATION_NAMES),
            "content": len(CONTENT_NAMES),
            "guards": len(GUARD_NAMES),
            "trees": 1,
        }
        return {b: all_widths[b] for b in self.blocks}

    def columns(
        self,
        texts: Sequence[str],
        classifications: Sequence[str],
        posts: Sequence[str | None],
        unit: NDArray[np.float32],
        related: Array | None = None,
        content: Array | None = None,
    ) -> Array:
        """(n, d) design matrix; `unit` (n, E) are the texts' embeddings, `related` (n, 6) is what `relate` says (None: no other notes).

        With the block of content, `texts` are without links nothing speaks for, and `content` (n, 13) is the rest of what `reading` says.
        """
        n = len(texts)
        made: dict[str, Array] = {"constant": np.ones((n, 1))}
        if "form" in self.blocks:
            form = [form_features(t, c, p) for t, c, p in zip(texts, classifications, posts, strict=True)]
            raw = np.array(form, dtype=np.float64).reshape(n, len(FORM_NAMES))
            # Four standard deviations are as strange as a feature can get: a text made of 300 exclamation marks must not win by them.
            made["form"] = np.clip((raw - self.form_mean) / self.form_scale, -4.0, 4.0)
        if "embedding" in self.blocks:
            made["embedding"] = (unit.astype(np.float64) - self.embedding_mean) @ self.embedding_axes
        if "words" in self.blocks:
            counts = sparse_block([read_text(t).words for t in texts], N_WORD_BUCKETS)
            made["words"] = weighed(counts, self.word_rarity) @ self.word_axes
        if "letters" in self.blocks:
            counts = sparse_block([read_text(t).letters for t in texts], N_LETTER_BUCKETS)
            made["letters"] = weighed(counts, self.letter_rarity) @ self.letter_axes
        if "relations" in self.blocks:
            raw = np.full((n, len(RELATION_NAMES)), np.nan) if related is None else related
            # Nothing to compare with is neither near nor far. A merged text may stand nearer to the notes than any note ever did: no further
            # than the outermost of them is believed.
            scaled = np.clip((raw - self.relation_centre) / self.relation_scale, -3.0, 3.0)
            made["relations"] = np.where(np.isfinite(scaled), scaled, 0.0)
        content = np.full((n, len(READ_NAMES)), np.nan) if content is None else content
        if "content" in self.blocks:
            away = content[:, : len(CONTENT_NAMES)] - self.content_centre
            made["content"] = np.where(np.isfinite(away), away, 0.0)
        if "guards" in self.blocks:
            rows = [guards(t, row, self.lexicon) for t, row in zip(texts, content, strict=True)]
            made["guards"] = np.array(rows).reshape(n, len(GUARD_NAMES))
        if "trees" in self.blocks:
            read = [made[b] for b in FOREST_READS if b in made] or [np.zeros((n, 0))]
            made["trees"] = self.forest.predict(np.concatenate(read, axis=1))[:, None] / self.forest_scale
        return np.concatenate([made[b] for b in self.blocks], axis=1)

    def where(self, block: str) -> slice:
        """The columns of one block."""
        widths = self.widths()
        begin = sum(widths[b] for b in self.blocks[: self.blocks.index(block)])
        return slice(begin, begin + widths[block])


def weighed(counts: Array, rarity: Array) -> Array:
    """Counts (n, buckets) times the buckets' rarity, each row scaled to length one (a row of zeros stays)."""
    rows = counts.astype(np.float64) * rarity
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class Response:
    """From linear predictor to probabilities.

    eta = level + rater_intercept · i_u + intercept · i_n + rater_factor · f_u + factor · f_u f_n
    P(at least somewhat) = sigmoid((eta - somewhat) / s),  P(helpful) = sigmoid((eta - helpful) / s),  s = scale · sqrt(1 + spread · Var(eta) / scale²)
    """

    level: float
    rater_intercept: float
    intercept: float
    rater_factor: float
    factor: float
    somewhat: float
    helpful: float
    scale: float
    spread: float

    def probabilities(
        self, rater_intercept: Array, rater_factor: Array, mean: Array, cov: Array, shift: Array | None = None
    ) -> NDArray[np.float32]:
        """(n_jurors, T, 3) float32: not, somewhat, helpful. `shift` (n_jurors, T) is added to eta where raters are known better.

        Everything that depends on both juror and text is a product of matrices with three inner columns.
        """
        f = np.asarray(rater_factor, dtype=np.float32)
        base = (self.level + self.rater_intercept * rater_intercept + self.rater_factor * rater_factor).astype(
            np.float32
        )
        one = np.ones_like(f)
        left = np.stack([base, one, f], axis=1)
        right = np.stack([np.ones(len(mean)), self.intercept * mean[:, 0], self.factor * mean[:, 1]]).astype(np.float32)
        eta = left @ right
        if shift is not None:
            eta += shift.astype(np.float32)
        squares = np.stack([one, f, f * f], axis=1)
        spread = np.stack([
            self.intercept**2 * cov[:, 0, 0], 2 * self.intercept * self.factor * cov[:, 0, 1], self.factor**2 * cov[:, 1, 1],
        ]).astype(np.float32)  # fmt: skip
        steep = squares @ spread
        # 1 / s, in place: s² = scale² + spread · variance.
        steep *= np.float32(self.spread)
        steep += np.float32(self.scale**2)
        np.maximum(steep, np.float32(self.scale**2), out=steep)
        np.sqrt(steep, out=steep)
        np.reciprocal(steep, out=steep)
        out = np.empty((*eta.shape, 3), dtype=np.float32)
        some = _sigmoid((eta - np.float32(self.somewhat)) * steep)
        high = _sigmoid((eta - np.float32(self.helpful)) * steep)
        out[:, :, 0] = 1.0 - some
        out[:, :, 1] = some - high
        out[:, :, 2] = high
        return out


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)) in place of `x`; beyond ±30 it is 0 or 1 in float32 anyway."""
    np.clip(x, -30.0, 30.0, out=x)
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1.0
    np.reciprocal(x, out=x)
    return x


@dataclass(frozen=True)
class TagModel:
    """P(tag | answer, side, text) = sigmoid(base[answer, side, tag] + form · slope[:, tag]); answers 0 not, 1 somewhat, 2 helpful."""

    tags: tuple[str, ...]
    base: Array  # (3, 3, n_tags) logits
    slope: Array  # (n_form, n_tags)

    def probabilities(self, form: Array, answers: Array) -> NDArray[np.float32]:
        """(T, 3 sides, n_tags): the answers' shares `answers` (T, 3 sides, 3 answers) weigh the tags of each answer."""
        shift = form @ self.slope  # (T, n_tags)
        logits = self.base.transpose(1, 0, 2)[None] + shift[:, None, None, :]  # (T, side, answer, tag)
        chance = 1.0 / (1.0 + np.exp(-np.clip(logits, -30, 30)))
        # Rounded, so that a text's last digit does not depend on how many texts are asked about together.
        return np.round(np.einsum("tsa,tsak->tsk", answers, chance), 6).astype(np.float32)


@dataclass(frozen=True)
class History:
    """How a rater's ratings of a post's other notes carry over: variance of their own effect, by stance agreement, and of one rating."""

    same_stance: float = 0.0
    other_stance: float = 0.0
    rating: float = 0.12

    def carried(self, residual: Sequence[float], stance: NDArray[np.int64], target: NDArray[np.int64]) -> Array:
        """Expected effect on texts of stance `target` (T,) given the rater's residuals on notes of stance `stance`, (T,)."""
        same = stance[:, None] == stance[None, :]
        cov = np.where(same, self.same_stance, self.other_stance) + self.rating * np.eye(len(stance))
        cross = np.where(target[:, None] == stance[None, :], self.same_stance, self.other_stance)
        return cross @ np.linalg.solve(cov, np.asarray(residual, dtype=np.float64))


@dataclass(frozen=True)
class Weights:
    """Everything the model has learnt. `rating_variance` is behind the errors of fitted parameters, `answer_variance` behind a single rating's
    worth as evidence (training.rating_variances). `beta` (2, d) and `root` (2, d, r): the posterior of the linear part is N(beta, root rootᵀ)."""

    design: Design
    beta: Array
    root: Array
    kernels: tuple[Kernel, Kernel]
    response: Response
    tags: TagModel
    history: History
    global_intercept: float
    rating_variance: float
    answer_variance: float
    factor_second_moment: float
    sd_scale: tuple[float, float]
    encoder: str
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """What the model thinks of T texts before any juror speaks: parameters on X's scale and their uncertainty.

    mean (T, 2), cov (T, 2, 2): intercept and factor. common (T,): the part of the intercept's variance that all texts of the post
    and stance share. form (T, n_form): the scaled form block, for reasons. noise (T,): error variance of a later fitted intercept.
    within: what `sd_within` is stretched by, so that orders of held-out pairs are as sure as it says.
    """

    mean: Array
    cov: Array
    common: Array
    form: Array
    noise: Array
    within: float = 1.0

    @property
    def sd(self) -> Array:
        """Deviation of a later fitted intercept: the model's doubt and the error of a fit on some 25 ratings."""
        return np.sqrt(self.cov[:, 0, 0] + self.noise)

    @property
    def sd_within(self) -> Array:
        return self.within * np.sqrt(np.maximum(self.cov[:, 0, 0] - self.common, 1e-8))


@dataclass(frozen=True)
class Known:
    """What a model knows of the siblings of one post; holding them keeps their identities, by which it is remembered, from being used again."""

    siblings: tuple[Sibling, ...]
    post_text: str | None
    posterior: SiblingPosterior
    unit: NDArray[np.float32]
    texts: list[str]
    stance: NDArray[np.int64]
    prior: Array
    cosine: Array
    around: Around


def read_all(
    texts: Sequence[str],
    classifications: Sequence[str],
    unit: NDArray[np.float32],
    around: Around,
    lexicon: Lexicon,
    encoder: Encoder,
    published: Sequence[bool],
    seen: bool = False,
) -> tuple[list[str], Array]:
    """`reading` of texts, embedded as `unit` (n, E), that stand beside the same notes: the texts as read, and their READ_NAMES, (n, 13)."""
    addresses = [{url: p for url in addresses_of(t) if (p := address_phrase(url))} for t in texts]
    phrases = sorted({p for of_text in addresses for p in of_text.values()}) if unit.shape[1] else []
    vectors = dict(zip(phrases, encoder.encode(phrases), strict=True))
    found = [
        reading(
            t,
            stance_index(c),
            around,
            lexicon,
            seen,
            u,
            {url: vectors[p] for url, p in its.items() if p in vectors},
            known,
        )
        for t, c, u, its, known in zip(texts, classifications, unit, addresses, published, strict=True)
    ]
    return [t for t, _ in found], np.array([row for _, row in found]).reshape(len(found), len(READ_NAMES))


def published_noise(n_ratings: Array, rating_variance: float, factor_second_moment: float) -> Array:
    """Error variance (n, 2) of fitted parameters that rest on `n_ratings` ratings (NaN: unknown, taken as 25)."""
    n = np.where(np.isfinite(n_ratings), n_ratings, 25.0)
    return np.stack([rating_variance / (n + 3.0), rating_variance / (factor_second_moment * n + 0.6)], axis=1)


class HierarchicalModel:
    """See the module. Thread-safe for reading; `seat` costs nothing worth caching."""

    name = "hierarchical"

    def __init__(self, weights: Weights, encoder: Encoder) -> None:
        self.weights = weights
        self.encoder = encoder
        self._known: dict[tuple[int, ...], Known] = {}
        self._held = 0

    @property
    def chance(self) -> tuple[float, float]:
        """What the chance of reaching Helpful was fitted with (`judge.chance.fit_chance`)."""
        shift, slope = self.weights.facts.get("helpful_chance", (0.0, 1.0))
        return float(shift), float(slope)

    def seat(self, jury: Jury) -> SeatedHierarchical:
        return SeatedHierarchical(self, jury)

    # ------------------------------------------------------------------------------------------------ notes, no jurors yet

    def judge(self, texts: Sequence[JudgedText]) -> Judgement:
        """Posterior of intercept and factor for every text, siblings (and own ratings, where given) taken into account."""
        w = self.weights
        n = len(texts)
        mean, cov, common = np.zeros((n, 2)), np.zeros((n, 2, 2)), np.zeros(n)
        if n == 0:
            return Judgement(mean, cov, common, np.zeros((0, len(FORM_NAMES))), common)
        # The siblings of all of them are encoded in the same call: many texts at once cost an encoder less than a few at a time.
        siblings = dict.fromkeys(s.text for t in texts for s in t.siblings)
        unit = self.encoder.encode([*(t.text for t in texts), *siblings])[:n]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, text in enumerate(texts):
            groups.setdefault((text.post_text, *(id(s) for s in text.siblings)), []).append(i)
        columns = np.empty((n, w.beta.shape[1]))
        for rows in groups.values():
            first = texts[rows[0]]
            around = self._siblings(first.siblings, first.post_text).around
            columns[rows] = self._columns([texts[i] for i in rows], unit[rows], first.siblings, first.post_text, around)
        stance = np.array([stance_index(t.classification) for t in texts])
        prior = columns @ w.beta.T
        doubt = np.stack([((columns @ w.root[q]) ** 2).sum(axis=1) for q in range(2)], axis=1)  # (n, 2)

        for rows in groups.values():
            first = texts[rows[0]]
            at = np.array(rows)
            known = self._siblings(first.siblings, first.post_text)
            posterior, unit_s, texts_s = known.posterior, known.unit, known.texts
            cosine = (
                (unit[at].astype(np.float64) @ unit_s.T.astype(np.float64)) if len(unit_s) else np.zeros((len(at), 0))
            )
            words = [said(s) for s in texts_s]
            same = np.array([[float(said(texts[i].text) == s) for s in words] for i in rows]).reshape(
                len(at), len(words)
            )
            mean[at], cov[at], common[at] = predict(w.kernels, posterior, stance[at], cosine, same, prior[at])
        cov[:, 0, 0] += doubt[:, 0]
        cov[:, 1, 1] += doubt[:, 1]
        scale = np.array(w.sd_scale)
        cov *= scale[None, :, None] * scale[None, None, :]
        common = np.minimum(common * scale[0] ** 2, cov[:, 0, 0])
        for i, text in enumerate(texts):
            if len(text.own_ratings):
                mean[i], cov[i] = self._with_own(mean[i], cov[i], text.own_ratings)
                common[i] = min(common[i], cov[i, 0, 0])
        form = columns[:, 1 : 1 + len(FORM_NAMES)] if "form" in w.design.blocks else np.zeros((n, len(FORM_NAMES)))
        typical = published_noise(np.array([np.nan]), w.rating_variance, w.factor_second_moment)[0, 0]
        return Judgement(mean, cov, common, form, np.full(n, typical), w.facts.get("within_scale", 1.0))

    def difference_sd(self, text: JudgedText, other: JudgedText) -> float:
        """Deviation of the difference of two texts' intercepts, both of one post, after all evidence of their siblings and of `other`.

        `sd_within` of each would count twice what both share: the weights of columns they have in common, and what similar texts share. An
        `other` that is not among the text's siblings becomes one, with its own ratings. Same calibration as `sd_within`.
        """
        w = self.weights
        siblings = text.siblings
        if not any(said(s.text) == said(other.text) and s.classification == other.classification for s in siblings):
            siblings = (*siblings, Sibling(None, other.text, other.classification, ratings=other.own_ratings))
        known = self._siblings(siblings, text.post_text)
        posterior, unit_s, texts_s = known.posterior, known.unit, known.texts
        pair = (text, other)
        unit = self.encoder.encode([t.text for t in pair])
        columns = self._columns(pair, unit, siblings, text.post_text, known.around)
        wide = unit.astype(np.float64)
        stance = [np.array([stance_index(t.classification)]) for t in pair]
        cosine = wide @ unit_s.T.astype(np.float64)
        same = np.array([[float(said(t.text) == said(s)) for s in texts_s] for t in pair]).reshape(2, len(texts_s))
        equal = np.array([float(said(text.text) == said(other.text))])
        # Without an encoder even a text does not resemble itself.
        between = np.maximum(wide[:1] @ wide[1], equal)
        variance = difference_variance(
            w.kernels[0],
            posterior,
            (stance[0], stance[1]),
            (cosine[:1], cosine[1:]),
            (same[:1], same[1:]),
            between,
            equal,
        )[0]
        apart = (columns[0] - columns[1]) @ w.root[0]
        return float(w.facts.get("within_scale", 1.0) * w.sd_scale[0] * np.sqrt(variance + apart @ apart))

    def _columns(
        self,
        texts: Sequence[JudgedText | Sibling],
        unit: NDArray[np.float32],
        siblings: Sequence[Sibling],
        post_text: str | None,
        around: Around,
    ) -> Array:
        """(n, d): the design's columns of texts that stand beside these siblings of one post, embedded as `unit`."""
        read = [t.text for t in texts]
        content = None
        if "content" in self.weights.design.blocks:
            kinds = [x.classification for x in texts]
            known = [getattr(x, "published", True) for x in texts]  # siblings are notes
            read, content = read_all(read, kinds, unit, around, self.weights.design.lexicon, self.encoder, known)
        return self.weights.design.columns(
            read,
            [t.classification for t in texts],
            [post_text] * len(texts),
            unit,
            self._related(texts, unit, siblings, read),
            content,
        )

    def _related(
        self,
        texts: Sequence[JudgedText | Sibling],
        unit: NDArray[np.float32],
        siblings: Sequence[Sibling],
        read: Sequence[str] | None = None,
    ) -> Array:
        """(n, 6): how the texts, embedded and `read` (None: as they are), stand to the siblings (model/relations.py); not a number where that is not used."""
        out = np.full((len(texts), len(RELATION_NAMES)), np.nan)
        own = [s for s in siblings if not s.borrowed]
        if "relations" not in self.weights.design.blocks or not own:
            return out
        words = [s.text for s in own]
        encoded = self.encoder.encode(words)
        others = describe(words, [s.classification for s in own], encoded)
        here = [k for k, t in enumerate(texts) if not getattr(t, "borrowed", False)]
        here_read = [texts[k].text if read is None else read[k] for k in here]
        chosen = describe(here_read, [texts[k].classification for k in here], unit[here])
        out[here] = relate(chosen, others)
        merged = [(k, getattr(texts[k], "source_note_ids", ())) for k in here]
        if any(ids for _, ids in merged):
            # A merged text is near to the notes it was made of because it was made of them: it stands where they stand among themselves.
            among = relate(others, others)[:, LIKENESS]
            for k, ids in merged:
                sources = [
                    j for j, s in enumerate(own) if s.note_id in ids and s.classification == texts[k].classification
                ]
                if sources:
                    known = among[sources]
                    count = np.isfinite(known).sum(axis=0)
                    mean = np.where(np.isfinite(known), known, 0.0).sum(axis=0) / np.maximum(count, 1)
                    out[k, LIKENESS] = np.where(count > 0, mean, np.nan)
        return out

    def _siblings(self, siblings: Sequence[Sibling], post_text: str | None) -> Known:
        """What is known of the siblings, remembered: judging candidates and reading jurors' own ratings ask for the same ones."""
        key = tuple(id(s) for s in siblings)
        found = self._known.get(key)
        if found is not None and found.post_text == post_text:
            return found
        w = self.weights
        texts = [s.text for s in siblings]
        n = len(texts)
        unit = self.encoder.encode(texts)
        stance = np.array([stance_index(s.classification) for s in siblings], dtype=np.int64)
        post_unit = self.encoder.encode([post_text or ""])[0]
        around = Around(post_text, texts, stance.tolist(), unit, post_unit)
        prior = self._columns(siblings, unit, siblings, post_text, around) @ w.beta.T if n else np.zeros((0, 2))
        information, score = np.zeros((n, 2, 2)), np.zeros((n, 2))
        for k, sibling in enumerate(siblings):
            information[k], score[k] = self.evidence(sibling)
        cosine = unit.astype(np.float64) @ unit.T.astype(np.float64)
        posterior = condition(w.kernels, stance, cosine, prior, information, score)
        found = Known(tuple(siblings), post_text, posterior, unit, texts, stance, prior, cosine, around)
        # By size, not by number: what is known of n siblings takes 4 n² numbers, and a crowded post asks once for each of its notes.
        self._held += posterior.gain.size
        if self._held > REMEMBERED_NUMBERS:
            self._known.clear()
            self._held = posterior.gain.size
        self._known[key] = found
        return found

    def evidence(self, sibling: Sibling) -> tuple[Array, Array]:
        """Information matrix and score of what is known of a sibling: its published parameters, or else its ratings.

        Published parameters rest on the very ratings that may be listed beside them, so both are never counted.
        """
        w = self.weights
        if sibling.intercept is not None and np.isfinite(sibling.intercept):
            count = float(len(sibling.ratings)) if len(sibling.ratings) >= 5 else np.nan
            noise = published_noise(np.array([count]), w.rating_variance, w.factor_second_moment)[0]
            known_factor = sibling.factor is not None and np.isfinite(sibling.factor)
            precision = np.array([1.0 / noise[0], 1.0 / noise[1] if known_factor else 0.0])
            value = np.array([sibling.intercept, sibling.factor if known_factor else 0.0])
            return np.diag(precision), precision * value
        return self._rating_evidence(sibling.ratings)

    def _rating_evidence(self, ratings: Ratings) -> tuple[Array, Array]:
        w = self.weights
        known = np.isfinite(ratings.intercept) & np.isfinite(ratings.factor) & np.isfinite(ratings.value)
        if not known.any():
            return np.zeros((2, 2)), np.zeros(2)
        r = w.response
        x = np.stack([np.full(int(known.sum()), r.intercept), r.factor * ratings.factor[known]], axis=1)
        rest = (
            ratings.value[known]
            - r.level
            - r.rater_intercept * ratings.intercept[known]
            - r.rater_factor * ratings.factor[known]
        )
        return x.T @ x / w.answer_variance, x.T @ rest / w.answer_variance

    def own_residuals(
        self,
        siblings: Sequence[Sibling],
        post_text: str | None,
        index: Mapping[str, int],
        intercept: Array,
        factor: Array,
        before: Array | None = None,
    ) -> dict[int, list[tuple[int, float]]]:
        """By rater (their value in `index`): (sibling, rating minus what was to be expected of that rater for that sibling).

        `intercept` and `factor` are the raters' parameters by index value. With `before` (milliseconds, by index value) only ratings
        made before that moment count; ratings of unknown time then do not.
        """
        hits = [
            (k, j)
            for k, s in enumerate(siblings)
            for j, rater in enumerate(s.ratings.rater_id)
            if rater in index and (before is None or 0 <= s.ratings.created_at[j] < before[index[rater]])
        ]
        if not hits:
            return {}
        w = self.weights
        known = self._siblings(siblings, post_text)
        mean, _, _ = predict(
            w.kernels, known.posterior, known.stance, known.cosine, np.eye(len(known.texts)), known.prior
        )
        r = w.response
        own: dict[int, list[tuple[int, float]]] = {}
        for k, j in hits:
            ratings = siblings[k].ratings
            rater = index[ratings.rater_id[j]]
            i_u, f_u = intercept[rater], factor[rater]
            expected = (
                r.level
                + r.rater_intercept * i_u
                + r.rater_factor * f_u
                + r.intercept * mean[k, 0]
                + r.factor * f_u * mean[k, 1]
            )
            own.setdefault(rater, []).append((k, float(ratings.value[j] - expected)))
        return own

    def history_shift(
        self, text: JudgedText, rater_ids: Sequence[str], intercept: Array, factor: Array, before: Array | None = None
    ) -> Array:
        """What each rater's own (earlier) ratings of the text's siblings add to eta, (n_raters,); zeros where there are none."""
        shift = np.zeros(len(rater_ids))
        h = self.weights.history
        if h.same_stance <= 0:
            return shift
        index = {rater: j for j, rater in enumerate(rater_ids) if rater}
        own = self.own_residuals(text.siblings, text.post_text, index, intercept, factor, before)
        stance = np.array([stance_index(s.classification) for s in text.siblings])
        target = np.array([stance_index(text.classification)])
        for rater, entries in own.items():
            shift[rater] = h.carried([e[1] for e in entries], stance[[e[0] for e in entries]], target)[0]
        return shift

    def _with_own(self, mean: Array, cov: Array, ratings: Ratings) -> tuple[Array, Array]:
        information, score = self._rating_evidence(ratings)
        if not information.any():
            return mean, cov
        gained = np.linalg.solve(np.eye(2) + cov @ information, cov)
        return mean + gained @ (score - information @ mean), 0.5 * (gained + gained.T)


class SeatedHierarchical:
    """The model with its jurors: rates texts in time proportional to jurors x texts, with three multiplications each."""

    def __init__(self, model: HierarchicalModel, jury: Jury) -> None:
        self._model = model
        self._intercept = np.asarray(jury.intercept, dtype=np.float64)
        self._factor = np.asarray(jury.factor, dtype=np.float64)
        # A jury whose fit had another global intercept is moved onto the model's.
        self._shift = float(jury.global_intercept) - model.weights.global_intercept
        self._index = {rater: j for j, rater in enumerate(jury.rater_ids) if rater}
        side = side_of(self._factor)
        # Shares of the sides, for averaging answers; a side without jurors is represented by the typical rater of that side.
        self._side = np.stack([(side == s) / max(int((side == s).sum()), 1) for s in range(3)])
        self._missing = [s for s in range(3) if not (side == s).any()]

    def read(self, texts: Sequence[JudgedText]) -> None:
        """Encode texts that are about to be rated, with their siblings: many at once cost an encoder less than a few at a time."""
        self._model.encoder.encode(
            [*dict.fromkeys(t for text in texts for t in (text.text, *(s.text for s in text.siblings)))]
        )

    def rate(self, texts: Sequence[JudgedText]) -> RatedTexts:
        judgement = self._model.judge(texts)
        return self.respond(judgement, self._history(texts, judgement))

    def respond(self, judgement: Judgement, shift: Array | None = None, reasons: bool = True) -> RatedTexts:
        """Probabilities (and reasons) of texts that have been judged; `shift` (n_jurors, T) from the jurors' own ratings."""
        w = self._model.weights
        level = self._intercept + self._shift / max(w.response.rater_intercept, 1e-6)
        probabilities = w.response.probabilities(level, self._factor, judgement.mean, judgement.cov, shift)
        n = len(judgement.mean)
        tags = np.zeros((n, 3, len(w.tags.tags)), dtype=np.float32)
        if reasons and n:
            flat = probabilities.reshape(len(self._factor), 3 * n).astype(np.float64)
            answers = (self._side @ flat).reshape(3, n, 3).transpose(1, 0, 2)  # (T, side, answer)
            for s in self._missing:
                typical = w.response.probabilities(
                    np.array([float(np.mean(level)) if len(level) else 0.0]),
                    np.array([(-0.4, 0.0, 0.4)[s]]),
                    judgement.mean,
                    judgement.cov,
                )
                answers[:, s, :] = typical[0]
            tags = w.tags.probabilities(judgement.form, answers)
        return RatedTexts(probabilities, judgement.sd, judgement.sd_within, tags, w.tags.tags)

    def _history(self, texts: Sequence[JudgedText], judgement: Judgement) -> Array | None:
        """What jurors' own ratings of the siblings add to eta, (n_jurors, T), or None where no juror rated any."""
        h = self._model.weights.history
        if h.same_stance <= 0 or not self._index:
            return None
        shift: Array | None = None
        done: dict[tuple[int, ...], list[int]] = {}
        for i, text in enumerate(texts):
            if any(len(s.ratings) for s in text.siblings):
                done.setdefault(tuple(id(s) for s in text.siblings), []).append(i)
        for rows in done.values():
            first = texts[rows[0]]
            own = self._model.own_residuals(first.siblings, first.post_text, self._index, self._intercept, self._factor)
            if not own:
                continue
            if shift is None:
                shift = np.zeros((len(self._factor), len(texts)))
            stance = np.array([stance_index(s.classification) for s in first.siblings])
            target = np.array([stance_index(texts[i].classification) for i in rows])
            for juror, entries in own.items():
                shift[juror, rows] = h.carried([e[1] for e in entries], stance[[e[0] for e in entries]], target)
        return shift
