"""One plan function for all stages: which inputs, which settings, which implementation, and whether anything is to do.

A DAG task and a command-line verb call `create_run` and `run_stage` and nothing else. They pass each other short
strings: a workspace, a run id, a stage's name. What a run was asked to do stands in `runs/ID/run.json`.

Where things go: `ingest` writes `snapshots/ID`, `train_jury` writes `models/jury-ID`, `export` writes `exports/ID`; all
other stages write `runs/ID/<stage>`. For the first three `runs/ID/<stage>/manifest.json` says which directory it was.
Ids are the first twelve hex digits of a fingerprint: equal inputs and settings give equal ids.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from nouns.errors import InputError, ModelServerGone, StageFailed, SupernotesError
from nouns.stages import ALL_STAGES, RUN_STAGES, SHARDED_STAGES
from pipeline.progress import Progress, silent
from pipeline.settings import Settings, as_dict, output_settings, settings_of_run
from storage.store import TIMING, Manifest, Store, canonical_json, digest_of, file_sha256, list_files

STEP_OF: dict[str, str] = {
    "ingest": "ingest.stage",
    "fit_raters": "matrix_factorization.score.stage",
    "train_jury": "jury.train.stage",
    "cluster_notes": "synthesis.cluster.stage",
    "draft_candidates": "synthesis.draft.stage",
    "check_candidates": "synthesis.check.stage",
    "judge_candidates": "jury.judge.stage",
    "revise_candidates": "synthesis.revise.stage",
    "select_winners": "jury.select.stage",
    "build_pairs": "feedback.pairs.stage",
    "export": "feedback.export.stage",
    "learn_outcomes": "feedback.outcomes.stage",
    "tune_writer": "feedback.tune.stage",
    "compare_writers": "feedback.tune.stage",
}
"""The module that holds the stage's function."""

_BELOW = {
    "ingest": ("ingest", "nouns", "texts"),
    "matrix_factorization": ("ingest", "matrix_factorization", "nouns", "texts"),
    "synthesis": ("jury", "matrix_factorization", "nouns", "synthesis", "texts"),
    "jury": ("jury", "matrix_factorization", "nouns", "texts"),
    "feedback": ("feedback", "jury", "matrix_factorization", "nouns", "synthesis", "texts"),
}


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked to do.

    `source`: directory or URL of X's public files. `posts`: table of post texts, optional. `raters`: a `fit_raters`
    output or a directory of X's scorer files, adopted instead of fitting. `jury`: a trained jury's id or directory,
    used instead of training. `as_of`: milliseconds since 1970; only rows created before it exist. `recorded`: recorded
    model calls to replay. `decisions`: analysts' decisions (Parquet) that enter `build_pairs`. `extra`: directories of
    further labelled notes for `train_jury`. `held_out`: draft and check only the posts on which writers are compared,
    those in the test split of every export.
    """

    source: str
    posts: str | None = None
    raters: str | None = None
    jury: str | None = None
    as_of: int | None = None
    recorded: str | None = None
    decisions: str | None = None
    extra: tuple[str, ...] = ()
    held_out: bool = False


@dataclass(frozen=True)
class StageResult:
    """How one stage of a run went. `path` is relative to the workspace, or absolute for something from outside it."""

    stage: str
    state: str  # ran | skipped | failed
    path: str
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "in": self.counts.get("in", 0),
            "out": self.counts.get("out", 0),
            "rejected": self.counts.get("rejected", {}),
            "path": self.path,
        }


@dataclass(frozen=True)
class Input:
    """A named input of a stage: a local path to read and the digest that names its content."""

    path: Path
    digest: str


@functools.cache
def code_digest(room: str) -> str:
    """Digest of the sources a room's stages rest on, so that changed code never passes old output off as new.

    The note spec is left out: it is data that the checks alone read (`stage_code`).
    """
    digest = hashlib.sha256()
    for package in _BELOW[room]:
        root = Path(importlib.import_module(package).__file__ or "").parent
        for path in sorted(root.rglob("*")):
            if path.name == "note_spec.toml" or "__pycache__" in path.parts:
                continue
            if path.suffix in {".py", ".txt", ".toml", ".json", ".npz"}:
                digest.update(path.relative_to(root.parent).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def spec_digest() -> str:
    """Digest of the note spec (synthesis/note_spec.toml)."""
    root = Path(importlib.import_module("synthesis").__file__ or "").parent
    return hashlib.sha256((root / "note_spec.toml").read_bytes()).hexdigest()[:16]


def stage_code(stage: str) -> str:
    """Digest of what a stage's code rests on; a changed note spec repeats the checks and what follows, but no draft."""
    code = code_digest(STEP_OF[stage].split(".")[0])
    return f"{code}-{spec_digest()}" if stage in ("check_candidates", "revise_candidates") else code


class Plan:
    """The stages of one run in one workspace."""

    def __init__(self, store: Store, run_id: str, progress: Callable[[str], Any] | None = None) -> None:
        text = store.read_text(f"runs/{run_id}/run.json")
        if text is None:
            known = ", ".join(store.list("runs")) or "none"
            raise InputError(f"There is no run {run_id!r} in the workspace {store.root!r}; its runs: {known}.")
        described = json.loads(text)
        self.store = store
        self.run_id = run_id
        self.request = RunRequest(**(described["request"] | {"extra": tuple(described["request"].get("extra", ()))}))
        self.settings: Settings
        self.settings, self.retired_settings = settings_of_run(described["settings"])
        self._reporting = progress

    # -- the public verbs ------------------------------------------------------------------------------------------

    def run(self, stage: str, progress: Progress = silent, **options: Any) -> StageResult:
        """Carry out one stage of this run, or find it done.

        `options`: `later` (a later run's id) for `learn_outcomes`, `new` (the id of a run by another writer) for
        `compare_writers`.
        """
        if stage not in ALL_STAGES:
            raise InputError(f"{stage!r} is not a stage; the stages are {', '.join(ALL_STAGES)}.")
        if self.request.held_out and stage in RUN_STAGES[RUN_STAGES.index("judge_candidates") :]:
            raise InputError(
                f"The run {self.run_id} holds drafts of held-out posts only, to compare writers; it has no {stage}. Take the run it was made for."
            )
        method: Callable[..., StageResult] = getattr(self, f"_{stage}")
        try:
            return method(progress, **options)
        except SupernotesError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise StageFailed(
                    f"{stage} stopped: {error.strerror or error} ({error.filename or self.store.root}). Nothing of the stage "
                    "was kept; make room or mend the path, then run the same command again: finished stages are not repeated."
                ) from error
            raise StageFailed(f"{stage} failed: {type(error).__name__}: {error}. Nothing of it was kept.") from error

    def shards(self) -> list[list[int]]:
        """The eligible posts in shards of `run.posts_per_shard`, in the order of their ids. Empty: nothing is eligible."""
        import polars as pl

        directory = self._need("cluster_notes").path
        size = self.settings.run.posts_per_shard
        if self.request.held_out:
            from feedback.tune.stage import held_out_posts

            ids = held_out_posts(directory, self.settings.compare_writers.posts, self.settings.export.test_share)
            return [ids[i : i + size] for i in range(0, len(ids), size)]
        posts = pl.read_parquet(directory / "posts.parquet", columns=["post_id", "eligible"])
        ids = posts.filter(pl.col("eligible"))["post_id"].sort().to_list()
        return [ids[i : i + size] for i in range(0, len(ids), size)]

    def run_shard(self, stage: str, index: int, progress: Progress = silent) -> StageResult:
        """Carry out one shard of a per-post stage; `run` of that stage then finds it done and only gathers.

        A shard of a stage that is gathered already is not repeated: the gathered stage is its result.
        """
        if stage not in SHARDED_STAGES:
            raise InputError(f"{stage!r} is not run in shards; these are: {', '.join(SHARDED_STAGES)}.")
        gathered = self.store.manifest(f"runs/{self.run_id}/{stage}")
        if gathered and gathered.fingerprint == self._stage_fingerprint(stage, self._shard_inputs(stage)):
            return StageResult(stage, "skipped", f"runs/{self.run_id}/{stage}", gathered.counts)
        shards = self.shards()
        if not 0 <= index < len(shards):
            raise InputError(f"{stage} has {len(shards)} shards; there is no shard {index}.")
        return self._shard(stage, index, shards[index], progress)

    # -- the stages ------------------------------------------------------------------------------------------------

    def _ingest(self, progress: Progress) -> StageResult:
        source = local_source(self.request.source, self.store)
        inputs = {"source": Input(source, source_digest(source, self.store))}
        if self.request.posts:
            inputs["posts"] = _outside(self.request.posts)
        extra = {"as_of": self.request.as_of}
        return self._execute("ingest", "snapshots/{id}", inputs, extra, progress)

    def _fit_raters(self, progress: Progress) -> StageResult:
        snapshot = self._need("ingest")
        has_ratings = self._counts("ingest").get("tables", {}).get("ratings", {}).get("out", 0) > 0
        adopt = self.request.raters or (self.request.jury and str(self._jury().path))
        if not has_ratings and not adopt:
            raise InputError(
                f"{self.request.source!r} holds no ratings, so raters cannot be fitted. Give --raters (a fit_raters output "
                "or X's scorer files) or --jury (a trained jury)."
            )
        inputs = {"snapshot": snapshot}
        if adopt:
            inputs["adopt"] = _outside(adopt) if self.request.raters else self._jury()
        return self._execute("fit_raters", f"runs/{self.run_id}/fit_raters", inputs, {}, progress)

    def _train_jury(self, progress: Progress) -> StageResult:
        if self.request.jury:
            jury = self._jury()
            manifest = Manifest.from_json((jury.path / "manifest.json").read_text(encoding="utf-8"))
            path = self._relative(jury.path)
            self._point("train_jury", path, manifest)
            return StageResult("train_jury", "skipped", path, manifest.counts)
        inputs = {"snapshot": self._need("ingest"), "parameters": self._need("fit_raters")}
        for number, directory in enumerate(self.request.extra):
            inputs[f"extra_{number}"] = _outside(directory)
        return self._execute("train_jury", "models/jury-{id}", inputs, {}, progress)

    def _cluster_notes(self, progress: Progress) -> StageResult:
        inputs = {"snapshot": self._need("ingest"), "parameters": self._need("fit_raters")}
        extra = {"as_of": self.request.as_of}
        return self._execute("cluster_notes", f"runs/{self.run_id}/cluster_notes", inputs, extra, progress)

    def _draft_candidates(self, progress: Progress) -> StageResult:
        return self._sharded("draft_candidates", progress)

    def _check_candidates(self, progress: Progress) -> StageResult:
        return self._sharded("check_candidates", progress)

    def _judge_candidates(self, progress: Progress) -> StageResult:
        return self._sharded("judge_candidates", progress)

    def _revise_candidates(self, progress: Progress) -> StageResult:
        return self._sharded("revise_candidates", progress)

    def _select_winners(self, progress: Progress) -> StageResult:
        return self._sharded("select_winners", progress)

    def _build_pairs(self, progress: Progress) -> StageResult:
        inputs = self._run_inputs("build_pairs")
        if self.request.decisions:
            inputs["decisions"] = _outside(self.request.decisions)
        return self._execute("build_pairs", f"runs/{self.run_id}/build_pairs", inputs, {}, progress)

    def _export(self, progress: Progress) -> StageResult:
        inputs = self._run_inputs("export")
        if self.request.decisions:
            inputs["decisions"] = _outside(self.request.decisions)
        return self._execute("export", "exports/{id}", inputs, {"run_id": self.run_id}, progress)

    def _learn_outcomes(self, progress: Progress, later: str = "") -> StageResult:
        """What became of this run's texts, seen from the snapshot and parameters of a later run."""
        after = Plan(self.store, later) if later else self
        inputs = {
            name: self._need(self._PRODUCER[name])
            for name in ("clusters", "candidates", "verdicts", "selections", "revisions")
        }
        inputs |= {"snapshot": after._need("ingest"), "parameters": after._need("fit_raters")}
        return self._execute("learn_outcomes", f"runs/{self.run_id}/learn_outcomes", inputs, {}, progress)

    def _tune_writer(self, progress: Progress) -> StageResult:
        """A writer tuned on this run's export, into models/writer-ID."""
        inputs = {name: self._need(self._PRODUCER[name]) for name in ("snapshot", "parameters", "jury", "clusters")}
        inputs["data"] = self._need("export")
        journal = self.store.home / "runs" / self.run_id / ".journal" / "tune_writer"
        journal.mkdir(parents=True, exist_ok=True)
        return self._execute("tune_writer", "models/writer-{id}", inputs, {}, progress, journal)

    def _compare_writers(self, progress: Progress, new: str = "") -> StageResult:
        """This run's writer against the writer of the run `new`, on the same held-out posts before the gold jury."""
        if not new:
            raise InputError(
                "compare-writers needs --new: the id of a run whose drafts were written by the other writer."
            )
        other = Plan(self.store, new)
        inputs = {name: self._need(self._PRODUCER[name]) for name in ("snapshot", "parameters", "jury", "clusters")}
        inputs |= {"current": self._need("draft_candidates"), "current_checks": self._need("check_candidates")}
        inputs |= {"new": other._need("draft_candidates"), "new_checks": other._need("check_candidates")}
        share = {"test_share": self.settings.export.test_share}
        return self._execute("compare_writers", f"runs/{new}/compare_writers", inputs, share, progress)

    # -- inputs ----------------------------------------------------------------------------------------------------

    _UPSTREAM: ClassVar[dict[str, tuple[str, ...]]] = {
        "draft_candidates": ("snapshot", "parameters", "clusters"),
        "check_candidates": ("snapshot", "clusters", "candidates"),
        "judge_candidates": ("snapshot", "parameters", "jury", "clusters", "candidates", "checks"),
        "revise_candidates": ("snapshot", "parameters", "jury", "clusters", "candidates", "checks", "verdicts"),
        "select_winners": (
            "snapshot",
            "parameters",
            "jury",
            "clusters",
            "candidates",
            "checks",
            "verdicts",
            "revisions",
        ),
        "build_pairs": ("snapshot", "clusters", "candidates", "checks", "verdicts", "revisions", "selections"),
        "export": (
            "snapshot",
            "jury",
            "clusters",
            "candidates",
            "checks",
            "verdicts",
            "revisions",
            "selections",
            "pairs",
        ),
    }
    _PRODUCER: ClassVar[dict[str, str]] = {
        "snapshot": "ingest",
        "parameters": "fit_raters",
        "jury": "train_jury",
        "clusters": "cluster_notes",
        "candidates": "draft_candidates",
        "checks": "check_candidates",
        "verdicts": "judge_candidates",
        "revisions": "revise_candidates",
        "selections": "select_winners",
        "pairs": "build_pairs",
    }

    def _run_inputs(self, stage: str) -> dict[str, Input]:
        return {name: self._need(self._PRODUCER[name]) for name in self._UPSTREAM[stage]}

    def _need(self, stage: str) -> Input:
        """A finished earlier stage of this run as an input. Raises `InputError` naming the command that makes it."""
        manifest = self.store.manifest(f"runs/{self.run_id}/{stage}")
        if manifest is None:
            raise InputError(
                f"Run {self.run_id} has no finished {stage} yet. Run it first: supernotes {stage.replace('_', '-')} "
                f"--run {self.run_id} --workspace {self.store.root}"
            )
        path = self.where(stage)
        local = Path(path) if Path(path).is_absolute() else self.store.local(path)
        return Input(local, manifest.digest)

    def where(self, stage: str) -> str:
        """The directory of a finished stage, relative to the workspace (absolute if it lies outside)."""
        pointer = self.store.read_text(f"runs/{self.run_id}/{stage}/pointer.json")
        return json.loads(pointer)["path"] if pointer else f"runs/{self.run_id}/{stage}"

    def _counts(self, stage: str) -> dict[str, Any]:
        manifest = self.store.manifest(f"runs/{self.run_id}/{stage}")
        return manifest.counts if manifest else {}

    def _jury(self) -> Input:
        return find_jury(self.store, self.request.jury or "")

    def _relative(self, path: Path) -> str:
        try:
            return path.resolve().relative_to(self.store.home.resolve()).as_posix()
        except ValueError:
            return str(path)

    # -- carrying out ----------------------------------------------------------------------------------------------

    def _execute(
        self,
        stage: str,
        pattern: str,
        inputs: dict[str, Input],
        extra: dict[str, Any],
        progress: Progress,
        journal: Path | None = None,
    ) -> StageResult:
        """Run a whole stage into `pattern` (whose {id} is the fingerprint's beginning) unless it is there already."""
        settings = output_settings(self.settings, stage)
        code = stage_code(stage)
        named = {name: entry.digest for name, entry in sorted(inputs.items())}
        seed = self.settings.run.seed
        fingerprint = digest_of(
            {"stage": stage, "code": code, "settings": settings, "inputs": named, "seed": seed} | extra
        )
        rel = pattern.format(id=fingerprint[:12])
        with self.store.lock(rel):
            found = self.store.manifest(rel)
            if found and found.fingerprint == fingerprint:
                self._point(stage, rel, found)
                return StageResult(stage, "skipped", rel, found.counts)
            reusable = None if "{id}" in pattern else self._same_elsewhere(stage, fingerprint)
            with self.store.scratch(rel) as scratch:
                started = time.monotonic()
                if reusable is not None:
                    _copy_outputs(self.store.local(reusable[0]), scratch, reusable[1])
                    counts = reusable[1].counts
                else:
                    counts = self._call(stage, scratch, inputs, extra, progress, journal=journal)
                manifest = self.store.publish(
                    scratch,
                    rel,
                    stage=stage,
                    fingerprint=fingerprint,
                    code=code,
                    settings=settings,
                    inputs=named,
                    seed=seed,
                    counts=counts,
                    seconds=time.monotonic() - started,
                )
        self._point(stage, rel, manifest)
        state = "ran" if reusable is None else "skipped"
        return StageResult(stage, state, rel, manifest.counts, time.monotonic() - started)

    def _same_elsewhere(self, stage: str, fingerprint: str) -> tuple[str, Manifest] | None:
        """The same stage on the same inputs in another run of the workspace, if there is one."""
        for run in self.store.list("runs"):
            rel = f"runs/{run}/{stage}"
            if run != self.run_id:
                manifest = self.store.manifest(rel)
                if manifest and manifest.fingerprint == fingerprint:
                    return rel, manifest
        return None

    def _call(
        self,
        stage: str,
        out: Path,
        inputs: dict[str, Input],
        extra: dict[str, Any],
        progress: Progress,
        posts: Sequence[int] | None = None,
        journal: Path | None = None,
    ) -> dict[str, Any]:
        """Call the stage's function with what its signature asks for."""
        function = getattr(importlib.import_module(STEP_OF[stage]), stage)
        offered: dict[str, Any] = {name: entry.path for name, entry in inputs.items() if not name.startswith("extra_")}
        offered |= {
            "extra": tuple(entry.path for name, entry in inputs.items() if name.startswith("extra_")),
            "posts": posts if stage in SHARDED_STAGES else offered.get("posts"),
            "cache": self.store.home / ".cache" / "embeddings",
            "journal": journal,
            "seed": self.settings.run.seed,
            "progress": progress,
            "check_settings": self.settings.check_candidates,
            "draft_settings": self._drafting(),
            "judge_settings": self.settings.judge_candidates,
            "select_settings": self.settings.select_winners,
            "recorded": Path(self.request.recorded) if self.request.recorded else None,
        } | extra
        parameters = inspect.signature(function).parameters
        arguments = {
            name: offered.get(name) for name in parameters if name in offered or _is_optional_path(parameters[name])
        }
        arguments = {name: value for name, value in arguments.items() if name not in ("out", "settings")}
        settings = self._drafting() if stage == "draft_candidates" else getattr(self.settings, stage)
        return function(out, settings, **arguments)

    def _drafting(self) -> Any:
        """The writer's settings, an adapter of the workspace as a directory of this machine."""
        settings = self.settings.draft_candidates
        if not settings.adapter.startswith("models/"):
            return settings
        return replace(settings, adapter=str(self.store.local(settings.adapter.removesuffix("/adapter")) / "adapter"))

    def _point(self, stage: str, rel: str, manifest: Manifest) -> None:
        """Note in the run which directory outside it a stage's result is."""
        here = f"runs/{self.run_id}/{stage}"
        if rel == here:
            return
        self.store.write_text(f"{here}/pointer.json", canonical_json({"path": rel}) + "\n")
        self.store.write_text(f"{here}/manifest.json", manifest.to_json())

    # -- shards ----------------------------------------------------------------------------------------------------

    def _shard_inputs(self, stage: str) -> dict[str, Input]:
        inputs = self._run_inputs(stage)
        if self.request.recorded and stage in ("draft_candidates", "revise_candidates", "check_candidates"):
            inputs["recorded"] = _outside(self.request.recorded)
        return inputs

    def _stage_fingerprint(self, stage: str, inputs: dict[str, Input], **more: Any) -> str:
        if self.request.held_out and stage in SHARDED_STAGES:
            more |= {"held_out": [self.settings.export.test_share, self.settings.compare_writers.posts]}
        return digest_of(
            {
                "stage": stage,
                "code": stage_code(stage),
                "settings": self._stage_settings(stage),
                "inputs": {name: entry.digest for name, entry in sorted(inputs.items())},
                "seed": self.settings.run.seed,
            }
            | more
        )

    def _stage_settings(self, stage: str) -> dict[str, Any]:
        """The settings that can change a per-post stage; revising also drafts, checks and judges."""
        settings = output_settings(self.settings, stage)
        if stage in ("revise_candidates", "select_winners"):
            for other in ("draft_candidates", "check_candidates", "judge_candidates"):
                settings[other] = output_settings(self.settings, other)
        if stage == "revise_candidates":
            from synthesis.revise.asks import model_judges

            if model_judges(self.settings.draft_candidates, self.settings.check_candidates):
                # the finalists that a model examines are those that could win
                settings["select_winners"] = output_settings(self.settings, "select_winners")
        return settings

    def _shard(self, stage: str, index: int, posts: list[int], progress: Progress) -> StageResult:
        inputs = self._shard_inputs(stage)
        fingerprint = self._stage_fingerprint(stage, inputs, posts=[str(post) for post in posts])
        rel = f"runs/{self.run_id}/.shards/{stage}/{fingerprint[:16]}"
        with self.store.lock(rel):
            found = self.store.manifest(rel)
            if found and found.fingerprint == fingerprint:
                return StageResult(stage, "skipped", rel, found.counts)
            journal = self.store.home / "runs" / self.run_id / ".journal" / stage / fingerprint[:16]
            journal.mkdir(parents=True, exist_ok=True)
            with self.store.scratch(rel) as scratch:
                started = time.monotonic()
                counts = self._call(stage, scratch, inputs, {}, progress, posts, journal)
                if self.settings.run.require_complete and not self.request.recorded:
                    _refuse_without_server(scratch, f"{stage}, shard {index}", self.settings.draft_candidates.base_url)
                manifest = self.store.publish(
                    scratch,
                    rel,
                    stage=stage,
                    fingerprint=fingerprint,
                    code=stage_code(stage),
                    settings=self._stage_settings(stage),
                    inputs={name: entry.digest for name, entry in sorted(inputs.items())},
                    seed=self.settings.run.seed,
                    counts=counts,
                    seconds=time.monotonic() - started,
                )
        return StageResult(stage, "ran", rel, manifest.counts, time.monotonic() - started)

    def _sharded(self, stage: str, progress: Progress) -> StageResult:
        """All shards of a per-post stage, then one directory with their rows in the order of the posts' ids."""
        from pipeline.gather import gather

        rel = f"runs/{self.run_id}/{stage}"
        inputs = self._shard_inputs(stage)
        fingerprint = self._stage_fingerprint(stage, inputs)
        with self.store.lock(rel):
            found = self.store.manifest(rel)
            if found and found.fingerprint == fingerprint:
                return StageResult(stage, "skipped", rel, found.counts)
            started = time.monotonic()
            reusable = self._same_elsewhere(stage, fingerprint)
            if reusable is not None:
                with self.store.scratch(rel) as scratch:
                    _copy_outputs(self.store.local(reusable[0]), scratch, reusable[1])
                    manifest = self.store.publish(
                        scratch,
                        rel,
                        stage=stage,
                        fingerprint=fingerprint,
                        code=reusable[1].code,
                        settings=reusable[1].settings,
                        inputs=reusable[1].inputs,
                        seed=reusable[1].seed,
                        counts=reusable[1].counts,
                        seconds=time.monotonic() - started,
                    )
                return StageResult(stage, "skipped", rel, manifest.counts, time.monotonic() - started)
            shards = self.shards()
            results = []
            total = sum(len(posts) for posts in shards)
            done = 0
            for index, posts in enumerate(shards):
                progress(f"shard {index + 1} of {len(shards)}", done, total)
                results.append(self._shard(stage, index, posts, progress))
                done += len(posts)
            progress("gathering", total, total)
            # What other tasks worked on their shards is this stage's work, too.
            worked = sum(self._seconds_of(r.path) for r in results if r.state == "skipped")
            with self.store.scratch(rel) as scratch:
                if not results:  # nothing is eligible: the stage still writes its tables, empty
                    counts = self._call(stage, scratch, inputs, {}, progress, [])
                else:
                    counts = gather([self.store.local(r.path) for r in results], [r.counts for r in results], scratch)
                if stage == "select_winners":
                    counts = self._add_excluded_posts(scratch, counts)
                manifest = self.store.publish(
                    scratch,
                    rel,
                    stage=stage,
                    fingerprint=fingerprint,
                    code=stage_code(stage),
                    settings=self._stage_settings(stage),
                    inputs={name: entry.digest for name, entry in sorted(inputs.items())},
                    seed=self.settings.run.seed,
                    counts=counts,
                    seconds=worked + time.monotonic() - started,
                )
            for result in results:
                self.store.remove(result.path)
        return StageResult(stage, "ran", rel, manifest.counts, time.monotonic() - started)

    def _seconds_of(self, rel: str) -> float:
        """How long a finished directory took to make; 0 if nobody knows."""
        path = self.store.local(rel) / TIMING
        return float(json.loads(path.read_text(encoding="utf-8")).get("seconds", 0.0)) if path.is_file() else 0.0

    def _add_excluded_posts(self, out: Path, counts: dict[str, Any]) -> dict[str, Any]:
        """Append an abstention for every post that `cluster_notes` excluded, so that every post has its line."""
        import polars as pl

        from jury.select.select import excluded_selections

        posts = pl.read_parquet(self._need("cluster_notes").path / "posts.parquet")
        lines = excluded_selections(posts.filter(~pl.col("eligible")).sort("post_id"))
        rejected = dict(counts.get("rejected", {}))
        n = 0
        with (out / "selections.jsonl").open("a", encoding="utf-8") as stream:
            for line in lines:
                stream.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
                rejected[line["reason_code"]] = rejected.get(line["reason_code"], 0) + 1
                n += 1
        return counts | {"in": counts.get("in", 0) + n, "rejected": dict(sorted(rejected.items()))}


LEFT_ALONE = frozenset({"circuit_open", "unauthorized", "not_found", "no_model", "bad_address"})
"""Failures of a model call that say something of the server and nothing of the call."""
SILENT = frozenset({"connection", "timeout", "deadline"})
"""Failures that one call may have alone; of the server they tell when most calls have them."""


def _refuse_without_server(out: Path, what: str, address: str) -> None:
    """Raise `ModelServerGone` if the calls recorded in `out` ended because the server was away, not because of the calls.

    A stage that is published is never asked for again, so what was written without its model would stay so for ever, and
    the run would look well.
    """
    path = out / "calls.jsonl.zst"
    if not path.is_file():
        return
    from synthesis.generation.recorded import read_calls

    codes = [(call["failure"] or "").split(":", 1)[0].split(";", 1)[0].strip() for call in read_calls(path)]
    silent = sum(code in SILENT for code in codes)
    gone = sorted({code for code in codes if code in LEFT_ALONE}) or (["connection"] if silent * 2 > len(codes) else [])
    if gone:
        raise ModelServerGone(
            f"{what}: the model server at {address} was given up ({', '.join(gone)}); {codes.count(''):,} of {len(codes):,} calls were "
            "answered, are kept and will not be asked for again. Start the server, then run the same command again or clear the "
            "task. To go on with the answers there are, for good: run.require_complete=false."
        )


def _is_optional_path(parameter: inspect.Parameter) -> bool:
    return parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty


def _copy_outputs(source: Path, target: Path, manifest: Manifest) -> None:
    import shutil

    for name in [*manifest.outputs, "calls.jsonl.zst"]:
        if (source / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


# -- inputs from outside the workspace -----------------------------------------------------------------------------


def _outside(name: str) -> Input:
    """A file or directory given by the user, named by its content."""
    path = Path(name).expanduser()
    if not path.exists():
        raise InputError(f"{name!r} does not exist. Give an existing file or directory.")
    if path.is_file():
        return Input(path, file_sha256(path))
    files = [file for file in list_files(path) if file.name != "timing.json"]
    if not files:
        raise InputError(f"{name!r} is an empty directory.")
    return Input(path, digest_of({file.relative_to(path).as_posix(): file_sha256(file) for file in files}))


def local_source(source: str, store: Store) -> Path:
    """The directory of X's files; a remote one is copied into the workspace's cache first."""
    if "://" not in source or source.startswith("file://"):
        path = Path(source.removeprefix("file://")).expanduser()
        if not path.is_dir():
            what = "is a file" if path.is_file() else "does not exist"
            raise InputError(
                f"The input {source!r} {what}. Give --input the directory that holds X's public files, "
                "for example notes-00000.tsv and ratings-00000.tsv (plain, .zip, .gz or .zst)."
            )
        return path
    import fsspec

    try:
        fs, base = fsspec.core.url_to_fs(source)
        names = sorted(name for name in fs.find(base))
    except Exception as error:
        raise InputError(f"The input {source!r} cannot be listed: {type(error).__name__}: {error}.") from error
    target = store.home / ".cache" / "inputs" / hashlib.sha256(source.encode()).hexdigest()[:16]
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        local = target / Path(name).name
        info = fs.info(name)
        if not local.exists() or local.stat().st_size != info.get("size"):
            fs.get_file(name, str(local) + ".part")
            Path(str(local) + ".part").replace(local)
    return target


def source_digest(directory: Path, store: Store) -> str:
    """Digest of all files of an input directory by content, not by name of the directory or time.

    Digests are remembered by path, size and modification time, so that gigabytes are not read again for a skipped stage.
    """
    text = store.read_text(".cache/digests.json") if not store.remote else None
    try:
        known: dict[str, str] = json.loads(text) if text else {}
    except json.JSONDecodeError:
        known = {}
    digests = {}
    changed = False
    for path in list_files(directory):
        status = path.stat()
        key = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
        if key not in known:
            known[key] = file_sha256(path)
            changed = True
        digests[path.relative_to(directory).as_posix()] = known[key]
    if changed and not store.remote:
        store.write_text(".cache/digests.json", canonical_json(known))
    return digest_of(digests)


def find_jury(store: Store, name: str) -> Input:
    """A trained jury by its id in the workspace, or by its directory. Raises `InputError` if there is none."""
    for rel in (f"models/{name}", f"models/jury-{name}"):
        manifest = store.manifest(rel)
        if manifest:
            return Input(store.local(rel), manifest.digest)
    directory = Path(name).expanduser()
    if (directory / "manifest.json").is_file():
        manifest = Manifest.from_json((directory / "manifest.json").read_text(encoding="utf-8"))
        return Input(directory.resolve(), manifest.digest)
    known = ", ".join(entry for entry in store.list("models") if entry.startswith("jury-")) or "none"
    raise InputError(
        f"There is no jury {name!r}: neither in the workspace (its juries: {known}) nor a finished jury directory."
    )


# -- runs ----------------------------------------------------------------------------------------------------------


CURRENT_WRITER = "models/writer-current.json"
"""The promoted writer of a workspace: {"path", "run_id", "previous"}."""


def current_adapter(store: Store) -> str:
    """The promoted writer's adapter relative to the workspace; '' before the first promotion."""
    text = store.read_text(CURRENT_WRITER)
    writer = json.loads(text) if text else None
    return f"{writer['path']}/adapter" if writer else ""


def create_run(store: Store, request: RunRequest, settings: Settings) -> str:
    """Describe a run in the workspace and return its id; the same request on the same content gives the same run."""
    source = local_source(request.source, store)
    if settings.draft_candidates.adapter == "current":  # now: a run stays what it was when another writer is promoted
        drafting = replace(settings.draft_candidates, adapter=current_adapter(store))
        settings = replace(settings, draft_candidates=drafting)
    content: dict[str, Any] = {"source": source_digest(source, store), "as_of": request.as_of}
    for name in ("posts", "raters", "recorded", "decisions"):
        value = getattr(request, name)
        if value:
            content[name] = _outside(value).digest
    if request.extra:
        content["extra"] = [_outside(directory).digest for directory in request.extra]
    if request.jury:
        content["jury"] = find_jury(store, request.jury).digest
    if request.held_out:
        content["held_out"] = True
    content["settings"] = {stage: output_settings(settings, stage) for stage in ALL_STAGES}
    content["seed"] = settings.run.seed
    run_id = digest_of(content)[:12]
    described = {"run_id": run_id, "request": _absolute(request), "settings": as_dict(settings)}
    store.write_text(
        f"runs/{run_id}/run.json", json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    )
    return run_id


def _absolute(request: RunRequest) -> dict[str, Any]:
    """The request with local paths made absolute, so that a worker started elsewhere finds them."""
    values = dict(request.__dict__)
    for name in ("source", "posts", "raters", "recorded", "decisions"):
        if values[name] and "://" not in values[name]:
            values[name] = str(Path(values[name]).expanduser().resolve())
    values["extra"] = [str(Path(directory).expanduser().resolve()) for directory in request.extra]
    if values["jury"] and Path(values["jury"]).expanduser().is_dir():
        values["jury"] = str(Path(values["jury"]).expanduser().resolve())
    return values


def run_stage(workspace: str, run_id: str, stage: str, progress: Progress = silent) -> str:
    """One stage of a run; returns the path of its result relative to the workspace. What a DAG task calls."""
    return Plan(Store(workspace), run_id).run(stage, progress).path


def run_summary(store: Store, run_id: str, results: Iterable[StageResult], status: str = "done") -> dict[str, Any]:
    """The object that `supernotes run --json` prints."""
    stages = {result.stage: result.to_json() for result in results}
    manifest = store.manifest(f"runs/{run_id}/select_winners")
    counts = manifest.counts if manifest else {}
    return {
        "run_id": run_id,
        "status": status,
        "posts": counts.get("in", 0),
        "winners": counts.get("out", 0),
        "abstentions": counts.get("rejected", {}),
        "stages": stages,
    }


__all__ = [
    "RUN_STAGES",
    "Input",
    "Plan",
    "RunRequest",
    "StageResult",
    "create_run",
    "find_jury",
    "run_stage",
    "run_summary",
]
