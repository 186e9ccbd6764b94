"""Pages that compare: juries with baselines."""

from __future__ import annotations


def test_a_jury_stands_beside_every_baseline_and_says_where_one_is_better():
    """Lower is better for losses and calibration errors, higher for the rest; coverage is neither."""
    from inspector.pages.runs import beside_baselines, metric_rows

    ours = metric_rows(
        {"metrics": {"log_loss": {"value": 0.5, "n": 9}, "rating_auc": 0.8, "ece": 0.05, "coverage_90": 0.88}}
    )
    baselines = {
        "intercept": {"log_loss": 0.6, "rating_auc": 0.7, "ece": 0.04},
        "siblings": {"log_loss": 0.4, "coverage_90": 0.99},
    }
    table = {row["name"]: row for row in beside_baselines(ours, baselines)}
    assert {name: row["beaten"] for name, row in table.items()} == {
        "log_loss": 1, "rating_auc": 0, "ece": 1, "coverage_90": 0,
    }  # fmt: skip
    assert [other and other["value"] for other in table["rating_auc"]["theirs"]] == [0.7, None]
