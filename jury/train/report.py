"""The jury's report as a page and pictures: reliability, score against truth, tables beside the baselines."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jury.train.evaluate import METRICS, EvaluationSet, Predictions

_BETTER = {"log_loss": "lower", "ece": "lower", "log_loss_without_history": "lower", "coverage_90": "0.90"}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}table{border-collapse:collapse;margin:1rem 0}"
    "th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left}"
    "small{color:#555}img{max-width:100%}.bad{color:#a00}.good{color:#060}"
)


def _cell(entry: Mapping[str, Any] | None) -> str:
    if not entry or entry.get("value") is None:
        return "–"
    span = f"<br><small>{entry['lo']:.3f} to {entry['hi']:.3f}</small>" if entry.get("lo") is not None else ""
    return f"{entry['value']:.3f}{span}"


def write_html(path: Path, report: Mapping[str, Any], pictures: list[str]) -> None:
    """One self-contained page beside its pictures. Every text that comes from data is escaped."""
    esc = html.escape
    evaluation = report["evaluation"]
    gate = report["gate"]
    names = list(evaluation["baselines"])
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>Jury report</title>",
        f"<style>{_STYLE}</style><h1>Jury report</h1>",
        f"<p class='{'good' if gate['passed'] else 'bad'}'>Gate: {'passed' if gate['passed'] else 'failed'}. {esc(gate['reason'])}</p>",
        f"<p>{esc(report['protocol'])}</p>",
        f"<p>{evaluation['n_ratings']:,} ratings of {evaluation['n_notes']:,} notes on {evaluation['n_posts']:,} posts held out.</p>",
        "<h2>Measures beside the baselines</h2><table><tr><th>measure</th><th>better</th><th>n</th><th>jury</th>"
        + "".join(f"<th>{esc(n)}</th>" for n in names) + "</tr>",
    ]  # fmt: skip
    for metric in METRICS:
        entry = evaluation["metrics"].get(metric, {})
        cells = "".join(f"<td>{_cell(evaluation['baselines'][n].get(metric))}</td>" for n in names)
        parts.append(
            f"<tr><td>{metric}</td><td>{_BETTER.get(metric, 'higher')}</td><td>{entry.get('n', 0):,}</td><td>{_cell(entry)}</td>{cells}</tr>"
        )
    parts.append(
        "</table>"
        + _foils_table(evaluation.get("foils", ()))
        + f"<h2>Order within a post</h2><p>{esc(report['order']['reason'])}</p><table>"
        "<tr><th>foreseen chance of the other order</th><th>pairs</th><th>seen</th></tr>"
        if "order" in report
        else "</table><table>"
    )
    for row in evaluation.get("p_flip", ()):
        parts.append(
            f"<tr><td>{row['predicted']:.2f}</td><td>{row['n']:,}</td><td>{_cell({**row, 'value': row['observed'], 'lo': row['observed_lo'], 'hi': row['observed_hi']})}</td></tr>"
        )
    parts.append(
        "</table><h2>Slices</h2><table><tr><th>slice</th>" + "".join(f"<th>{m}</th>" for m in METRICS[:8]) + "</tr>"
    )
    for piece in evaluation["slices"]:
        cells = "".join(f"<td>{_cell(piece['metrics'].get(m))}</td>" for m in METRICS[:8])
        parts.append(f"<tr><td>{esc(piece['slice'])}</td>{cells}</tr>")
    parts.append("</table>")
    parts += [f"<p><img src='{esc(p)}' alt='{esc(p.rsplit('.', 1)[0].replace('_', ' '))}'></p>" for p in pictures]
    parts.append(
        "<h2>Reasons: shared and dividing</h2><p>Share of raters who tick a tag, by side of the factor line (which side is negative is a "
        "convention). Topics are read from the words of posts and notes.</p>"
    )
    by_topic: dict[str, list[Mapping[str, Any]]] = {}
    for row in report["values"]:
        by_topic.setdefault(row["topic"], []).append(row)
    for topic in sorted(by_topic, key=lambda name: (name != "all", name)):
        opened = " open" if topic == "all" else ""
        title = "all posts" if topic == "all" else topic
        parts.append(f"<details{opened}><summary>{esc(title)}</summary>{_values_table(by_topic[topic])}</details>")
    parts.append("</html>\n")
    path.write_text("".join(parts), encoding="utf-8")


def _foils_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What edits without information do to the predicted intercept (foils.py)."""
    head = "<h2>Edits that tell nobody anything new</h2><p>Change of the predicted intercept. The last row is the note's own links, which should help.</p>"
    parts = [head, "<table><tr><th>edit</th><th>notes</th><th>mean change</th><th>share raised</th><th></th></tr>"]
    for row in rows:
        moved, raised = (
            _cell({**row, "value": row["mean"]}),
            _cell({"value": row["raised"], "lo": row["raised_lo"], "hi": row["raised_hi"]}),
        )
        verdict = "<td class='good'>sound</td>" if row["met"] else "<td class='bad'>not met</td>"
        parts.append(
            f"<tr><td>{html.escape(row['foil'])}</td><td>{row['n']:,}</td><td>{moved}</td><td>{raised}</td>{verdict}</tr>"
        )
    return "".join(parts) + "</table>"


def _values_table(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        "<table><tr><th>tag</th><th>negative side</th><th>positive side</th><th>ratio</th><th>ticks</th><th>verdict</th></tr>"
    ]
    for row in rows:
        parts.append(
            f"<tr><td>{html.escape(row['tag'])}</td><td>{row['negative']:.3f}</td><td>{row['positive']:.3f}</td>"
            f"<td>{row['ratio']:.2f}<br><small>{row['ratio_lo']:.2f} to {row['ratio_hi']:.2f}</small></td><td>{row['n']:,}</td>"
            f"<td>{row['verdict']}</td></tr>"
        )
    return "".join(parts) + "</table>"


def write_plots(directory: Path, evaluation: EvaluationSet, p: Predictions) -> list[str]:
    """reliability.png and score_against_truth.png; the names of what was drawn (nothing without data)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    made = []
    data = evaluation.data
    if len(p.rows) >= 30:
        figure = Figure(figsize=(5, 5), layout="constrained")
        axis = figure.add_subplot()
        truth = data.value[p.rows] > 0.75
        order = np.argsort(p.helpful, kind="stable")
        parts = np.array_split(order, min(15, max(len(order) // 20, 1)))
        x = [float(p.helpful[b].mean()) for b in parts]
        y = np.array([float(truth[b].mean()) for b in parts])
        spread = np.array([1.96 * np.sqrt(max(v * (1 - v), 1e-4) / len(b)) for v, b in zip(y, parts, strict=True)])
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axis.errorbar(x, y, yerr=spread, fmt="o", capsize=2)
        axis.set(
            xlabel="predicted probability of helpful",
            ylabel="share rated helpful",
            title="Reliability on held-out posts",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        _save(figure, directory / "reliability.png")
        made.append("reliability.png")
    truth_i = evaluation.truth_intercept[p.notes]
    known = np.isfinite(truth_i)
    if known.sum() >= 10:
        figure = Figure(figsize=(5, 5), layout="constrained")
        axis = figure.add_subplot()
        axis.errorbar(
            p.intercept[known], truth_i[known], xerr=1.6449 * p.sd[known], fmt="none", ecolor="0.88", linewidth=0.6
        )
        axis.plot(p.intercept[known], truth_i[known], ".", markersize=4)
        low, high = (
            float(min(p.intercept[known].min(), truth_i[known].min())),
            float(max(p.intercept[known].max(), truth_i[known].max())),
        )
        axis.plot([low, high], [low, high], color="0.5", linewidth=1)
        axis.set(
            xlabel="predicted intercept, 90 % interval",
            ylabel="fitted intercept",
            title="Score against truth on held-out posts",
        )
        _save(figure, directory / "score_against_truth.png")
        made.append("score_against_truth.png")
    return made


def _save(figure: Any, path: Path) -> None:
    # No software name or date in the file: equal inputs give equal bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
