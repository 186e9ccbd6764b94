"""A run as a stage sees it: the finished results it needs, opened by the name of the stage that made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nouns.errors import InputError, NotMade
from nouns.stages import verb

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Run:
    """Finished directories by stage, and what the request gave.

    `directories`: local directories of finished stages. `given`: files, directories and values of the request.
    `posts`: the posts a shard treats, None for all. `second`: another run whose results are read too.
    """

    run_id: str = ""
    directories: Mapping[str, Path] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    posts: tuple[int, ...] | None = None
    second: Run | None = None

    def path(self, stage: str) -> Path:
        """The directory a stage made. Raises `NotMade` with the verb that makes it."""
        if stage not in self.directories:
            raise NotMade(
                f"Run {self.run_id or '(unnamed)'} has no finished {stage} at hand. Run it first: supernotes {verb(stage)} --run {self.run_id}"
            )
        return self.directories[stage]

    def has(self, stage: str) -> bool:
        return stage in self.directories

    def other(self) -> Run:
        """The second run. Raises `InputError` where none was named."""
        if self.second is None:
            raise InputError("This stage compares two runs, and no second one was named.")
        return self.second

    def with_posts(self, posts: Sequence[int] | None) -> Run:
        return Run(self.run_id, self.directories, self.given, None if posts is None else tuple(posts), self.second)

    # -- tables ----------------------------------------------------------------------------------------------------

    def table(self, stage: str, name: str, key: str = "post_id") -> pl.DataFrame:
        """A stage's table, only the rows of this run's posts. Raises `InputError` where the file is missing."""
        return read_rows(self.path(stage), name, self.posts, key)

    def candidates(self) -> pl.DataFrame:
        """Drafts and revisions together, by post and id."""
        return self._with_revisions("draft_candidates", "candidates").sort("post_id", "candidate_id")

    def prompts(self) -> pl.DataFrame:
        """The prompts of drafts and revisions together."""
        return self._with_revisions("draft_candidates", "prompts")

    def checks(self) -> pl.DataFrame:
        """The checks of drafts and revisions together, a model's answers about finalists included."""
        return self._with_revisions("check_candidates", "checks")

    def verdicts(self) -> pl.DataFrame:
        """The verdicts on drafts and revisions together."""
        return self._with_revisions("judge_candidates", "verdicts")

    def _with_revisions(self, stage: str, name: str) -> pl.DataFrame:
        import polars as pl

        frame = self.table(stage, name)
        revised = self.directories.get("revise_candidates")
        if revised is None or not (revised / f"{name}.parquet").is_file():
            return frame
        return pl.concat([frame, read_rows(revised, name, self.posts)], how="diagonal_relaxed")


def read_rows(
    directory: Path | None, name: str, posts: Sequence[int] | None, key: str = "post_id", optional: bool = False
) -> pl.DataFrame:
    """A stage's table, only the rows of `posts` (None: all). Raises `InputError` when the file is missing.

    An optional table whose directory or file is missing gives a frame without rows and columns.
    """
    import polars as pl

    path = Path(directory) / f"{name}.parquet" if directory is not None else None
    if path is None or not path.is_file():
        if optional:
            return pl.DataFrame()
        raise InputError(f"{path} does not exist; give the directory of the stage that writes {name}.parquet.")
    frame = pl.scan_parquet(path)
    if posts is not None:
        frame = frame.filter(pl.col(key).is_in(list(posts)))
    return frame.collect()


Work = Callable[..., dict[str, Any]]
"""A stage's function: (run, settings, out, tools, **also) -> counts."""
