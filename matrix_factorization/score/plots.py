"""Pictures of a fit: where the notes lie, how the raters spread, how the loss fell."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from matrix_factorization.score.flow import Scoring
from matrix_factorization.score.statuses import HELPFUL, NOT_HELPFUL, STATUSES, StatusSettings

_COLOURS = {"NEEDS_MORE_RATINGS": "#8a8f98", HELPFUL: "#1b7f4b", NOT_HELPFUL: "#b3362b"}
_LABELS = {"NEEDS_MORE_RATINGS": "needs more ratings", HELPFUL: "Helpful", NOT_HELPFUL: "Not Helpful"}
_MOST_POINTS = 50_000


def plot_fit(scoring: Scoring, settings: StatusSettings, out: Path) -> None:
    """Write notes.png, raters.png and loss.png into `out`; the same fit gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def save(figure: Figure, name: str) -> None:
        FigureCanvasAgg(figure)
        # Without metadata, which would hold matplotlib's version, the file depends on the fit alone.
        figure.savefig(out / name, dpi=120, metadata={"Software": None})

    figure = Figure(figsize=(8, 6), layout="constrained")
    _notes(figure.add_subplot(), scoring, settings)
    save(figure, "notes.png")
    figure = Figure(figsize=(8, 4), layout="constrained")
    _raters(figure.add_subplot(), scoring)
    save(figure, "raters.png")
    figure = Figure(figsize=(8, 4), layout="constrained")
    _loss(figure.add_subplot(), scoring)
    save(figure, "loss.png")


def _notes(axes, scoring: Scoring, settings: StatusSettings) -> None:
    completed = scoring.completed
    shown = np.flatnonzero(completed.note_source == "fitted")
    shown = shown[:: max(1, len(shown) // _MOST_POINTS)]
    factor, intercept = completed.notes.factor[shown], completed.notes.intercept[shown]
    status = completed.statuses.status[shown]
    reach = max(1.0, float(np.abs(factor).max(initial=0)) * 1.05)
    line = np.linspace(-reach, reach, 201)
    top = max(0.8, float(intercept.max(initial=0)) * 1.1)
    bottom = min(-0.6, float(intercept.min(initial=0)) * 1.1)
    axes.fill_between(
        [-settings.largest_factor, settings.largest_factor],
        settings.helpful_intercept,
        top,
        color=_COLOURS[HELPFUL],
        alpha=0.10,
    )
    edge = settings.not_helpful_intercept + settings.not_helpful_slope * np.abs(line)
    axes.fill_between(line, bottom, np.maximum(edge, bottom), color=_COLOURS[NOT_HELPFUL], alpha=0.10)
    for k, name in enumerate(STATUSES):
        here = status == k
        axes.scatter(
            factor[here], intercept[here], s=8, color=_COLOURS[name], alpha=0.6, linewidths=0,
            label=f"{_LABELS[name]} ({int(here.sum()):,})",
        )  # fmt: skip
    axes.set(
        xlim=(-reach, reach), ylim=(bottom, top), xlabel="note factor (which side likes it)",
        ylabel="note intercept (helpful to both sides)",
        title=f"{len(shown):,} fitted notes; shaded: the regions of intercept and factor for Helpful and Not Helpful",
    )  # fmt: skip
    axes.title.set_fontsize(10)
    axes.legend(loc="lower left", fontsize=8)


def _raters(axes, scoring: Scoring) -> None:
    completed = scoring.completed
    fitted = completed.raters.factor[completed.rater_source == "fitted"]
    others = completed.raters.factor[completed.rater_source == "folded_in"]
    everyone = np.concatenate((fitted, others))
    reach = max(float(np.quantile(np.abs(everyone), 0.999)) if len(everyone) else 1.0, 1e-3)
    bins = np.linspace(-reach, reach, 61)
    axes.hist(
        [np.clip(fitted, -reach, reach), np.clip(others, -reach, reach)], bins=bins, stacked=True,
        color=["#3b5b92", "#b9c6dd"], label=[f"fitted ({len(fitted):,})", f"folded in ({len(others):,})"],
    )  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel="rater factor (the larger camp is negative)", ylabel="raters", title="Raters along the factor")
    axes.legend(fontsize=8)


def _loss(axes, scoring: Scoring) -> None:
    for name, run in (("first round", scoring.first_round), ("final round", scoring.factorization)):
        if len(run.losses) < 2 or (name == "final round" and run is scoring.first_round):
            continue
        excess = np.maximum(run.losses - run.losses[-1], 0)[:-1] / run.losses[-1]
        axes.semilogy(np.arange(len(excess)), np.maximum(excess, 1e-12), marker="o", markersize=3, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="sweep", ylabel="loss above the final one, relative", title="Loss by sweep")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8)
