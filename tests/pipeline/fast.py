"""Settings under which the whole job on the bundled sample takes seconds: hashed n-grams instead of MiniLM."""

FAST = (
    "train_jury.encoder=hashing",
    "train_jury.bootstrap=50",
    "train_jury.plots=false",
    "fit_raters.plots=false",
    "fit_raters.held_out_splits=0",
    "cluster_notes.embedder=hashing",
    "judge_candidates.n_jurors=200",
    "judge_candidates.n_appeal=200",
    "run.posts_per_shard=16",
)


def flags() -> list[str]:
    """The settings as command-line flags."""
    return [part for setting in FAST for part in ("--set", setting)]
