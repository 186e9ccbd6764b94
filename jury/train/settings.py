"""Settings of `train_jury`. Every field has its unit and where the value comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainJurySettings:
    # Sentence encoder of the main and the proxy model: 'minilm', 'hashing' or 'none'. Measured, see EXPERIMENTS 2026-11-21.
    encoder: str = "minilm"
    # Encoder of the gold model; another one than the proxy's, or a text that fools one fools both. Literature.md 11.3.
    gold_encoder: str = "hashing"
    # Blocks of features: any of 'form', 'embedding', 'words', 'letters', 'domains', 'relations', 'trees'. Measured, see EXPERIMENTS 2026-11-21.
    blocks: tuple[str, ...] = ("form", "embedding", "words", "letters", "relations", "trees")
    # Regression trees on form and embedding, whose mean answer is one column beside the others. Trees; more cost seconds and change little.
    trees: int = 60
    # Labelled notes from which on trees are grown. With 10,000 they helped, with 1,200 they did no harm; with 234 (the bundled sample) they only kept
    # predictions of merged texts, which have more of everything good than any note had, down at the notes' level (EXPERIMENTS 2026-11-21).
    trees_from: int = 1000
    # Main axes of the embedding, and of the hashed words and letters each, that enter the linear part. Measured.
    embedding_axes: int = 96
    word_axes: int = 150
    # What a label of an --extra folder counts for while text weights are learnt, against one of the snapshot itself. Measured: what ranked
    # notes of 2021 ranks those of 2025 at chance; 0.2 to 0.5 did equally well.
    elsewhere_weight: float = 0.33
    # Groups of posts for choosing penalties and calibrating on posts left out.
    folds: int = 5
    # Text weights of intercepts are the mean of two fits: as the model has it, and with the variance that posts share times this factor, so that
    # differences within a post decide, as they must between candidates of one post. 1: the first fit alone. Tried: 4 alone, 30 (EXPERIMENTS 2026-11-21).
    within_emphasis: float = 30.0
    # Newest share of posts kept aside for the report and the gate, before the final fit on everything.
    held_out_share: float = 0.2
    # Held-out posts under which the gate only warns: less cannot tell a good jury from a bad one. Posts.
    gate_min_posts: int = 30
    # Fit the raters again without the held-out posts for the report, where the snapshot has enough ratings. Ratings, at most.
    refit_limit: int = 3_000_000
    # Train the paper's network for the report as well: 0.1 TFLOP for every 1,000 ratings, so minutes for 30,000 ratings on two
    # busy cores. Off here, on in `benchmarks.jury`.
    paper_baseline: bool = False
    # Epochs of the paper's network, where it is trained.
    paper_epochs: int = 4
    # Resamples of posts for the report's intervals.
    bootstrap: int = 300
    # Start of every random stream of this stage.
    seed: int = 0
    # Further labelled folders (see jury/train/extra_data.py), as paths; `supernotes train-jury --extra DIR` appends to it.
    extra: tuple[str, ...] = ()
    # Pictures of the report (PNG).
    plots: bool = True
