"""Settings of the jury room's stages. Units and sources beside every field; all have a default."""

from __future__ import annotations

from dataclasses import dataclass

from nouns.stage import speed
from nouns.tables import AGGREGATORS
from nouns.x import HELPFUL_FACTOR

__all__ = [
    "JudgeCandidatesSettings",
    "SelectWinnersSettings",
    "TrainJurySettings",
]


COMPOSITIONS = ("electorate", "balanced", "uniform", "custom")
"""Ways to compose a jury, see `jury/judge/draw.py`."""


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} = {value!r} is not known; choose one of {', '.join(known)}.")


@dataclass(frozen=True)
class JudgeCandidatesSettings:
    """Who judges, and which score counts."""

    n_jurors: int = 1000  # jurors; at 1,000 the draw's noise is 0.005 on the score (facts.md section 5)
    n_appeal: int = 1000  # jurors of the second jury, which hears the winner again
    appeal_model: str = "gold"  # whose predictions the second jury votes by: gold (other raters, other encoder) | proxy
    composition: str = "electorate"  # electorate (by activity) | balanced | uniform (the paper's) | custom
    bin_edges: tuple[float, ...] = ()  # custom only: ascending cuts of the factor line
    bin_shares: tuple[float, ...] = ()  # custom only: share of the jury in each part, one more than edges, sum 1
    pool: str = "proxy"  # which raters the jury may come from; the appeal is drawn from all others
    aggregator: str = "bridging_intercept"  # whose score counts; the others are written beside it
    seed: int = 1  # added to the run's seed, so that a jury can be redrawn alone
    batch: int = speed(512)  # texts encoded together

    def __post_init__(self) -> None:
        _one_of("aggregator", self.aggregator, AGGREGATORS)
        _one_of("composition", self.composition, COMPOSITIONS)
        _one_of("appeal_model", self.appeal_model, ("proxy", "gold"))


@dataclass(frozen=True)
class SelectWinnersSettings:
    """When a candidate may win. The rules are X's gates, a bar, and being better than what is there."""

    max_factor: float = HELPFUL_FACTOR  # |note factor| must be below it (X, facts.md section 2)
    net_helpful_share: float = 0.05  # helpful minus not helpful on each sign of the factor, share of all jurors (X)
    # Bridging intercept below which nothing wins, though it were better than the notes there are; 0.40 is X's Helpful. Below 0.30 the chance of being shown
    # is under one in five; 0.40 would cost half of the winners of birdwatch-2021 (docs/experiments/whole-runs.md).
    minimum_score: float = 0.30
    caution: float = 0.5  # standard deviations (within the post) taken off a score when candidates are ranked
    confidence: float = 0.80  # one-sided; the winner must beat the best existing note with this probability
    # Score by which the winner must be predicted better than the best existing note, X's scale: of a near-copy the jury may be sure that it is
    # better by 0.002, and nobody would notice. As BuildPairsSettings.minimum_gap.
    minimum_gain: float = 0.02
    minimum_language_notes: int = (
        10  # notes of a text's language the jury must have learnt from; 0 trusts it in any language
    )
    appeal_must_confirm: bool = True  # the second jury, too, must prefer the winner to the best existing note


@dataclass(frozen=True)
class TrainJurySettings:
    # Sentence encoder of the main and the proxy model: 'minilm', 'hashing' or 'none'. Measured, see docs/experiments.
    encoder: str = "minilm"
    # Encoder of the gold model; another one than the proxy's, or a text that fools one fools both. Literature.md 11.3.
    gold_encoder: str = "hashing"
    # Blocks of features: any of 'form', 'embedding', 'words', 'letters', 'relations', 'content', 'trees'. Measured, see docs/experiments.
    blocks: tuple[str, ...] = ("form", "embedding", "words", "letters", "relations", "content", "trees")
    # Regression trees on form and embedding, whose mean answer is one column beside the others. Trees; more cost seconds and change little.
    trees: int = 60
    # Labelled notes from which on trees are grown. With 10,000 they helped, with 1,200 they did no harm; with 234 (the bundled sample) they only kept
    # predictions of merged texts, which have more of everything good than any note had, down at the notes' level (docs/experiments).
    trees_from: int = 1000
    # Labelled notes from which on columns of content have weights of their own. With 234 (the bundled sample) these kept merged texts down: 1 winner
    # (docs/experiments); with fewer, content is read by the guards alone, whose weights come from corrupted twins.
    content_from: int = 1000
    # Corrupted twins of training notes (jury/train/twins.py), of each kind; a third as many of kinds that must be embedded. 0: none.
    twins: int = 60
    # Held-out notes that foils are made of for the report (jury/train/foils.py). Some sixteen texts a note must be embedded.
    foil_notes: int = 40
    # Main axes of the embedding, and of the hashed words and letters each, that enter the linear part. Measured.
    embedding_axes: int = 96
    word_axes: int = 150
    # What a label of an --extra folder counts for while text weights are learnt, against one of the snapshot itself. Measured: what ranked
    # notes of 2021 ranks those of 2025 at chance; 0.2 to 0.5 did equally well.
    elsewhere_weight: float = 0.33
    # Groups of posts for choosing penalties and calibrating on posts left out.
    folds: int = 5
    # Text weights of intercepts are the mean of two fits: as the model has it, and with the variance that posts share times this factor, so that
    # differences within a post decide, as they must between candidates of one post. 1: the first fit alone. Tried: 4 alone, 30 (docs/experiments).
    within_emphasis: float = 30.0
    # Newest share of posts kept aside for the report and the gate, before the final fit on everything.
    held_out_share: float = 0.2
    # Held-out posts under which the gate only warns: less cannot tell a good jury from a bad one. Posts.
    gate_min_posts: int = 30
    # Fit the raters again without the held-out posts for the report, where the snapshot has enough ratings. Ratings, at most.
    refit_limit: int = 3_000_000
    # Resamples of posts for the report's intervals.
    bootstrap: int = 300
    # Start of every random stream of this stage.
    seed: int = 0
    # Rows of the snapshot that are learnt from at most; above it whole posts are chosen by stated rules (jury/train/sample.py) and the rest is told
    # of. What bounds memory and time: 20 million ratings are read in 1.3 GB. Ratings; notes with a text.
    max_ratings: int = 3_000_000
    max_notes: int = 40_000
    # Further labelled folders (see jury/train/extra_data.py), as paths; `supernotes train-jury --extra DIR` appends to it.
    extra: tuple[str, ...] = ()
    # Pictures of the report (PNG).
    plots: bool = True
