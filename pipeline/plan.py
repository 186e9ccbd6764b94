"""One plan for all stages: which inputs, which settings, and whether anything is to do.

A DAG task and a command-line verb call `create_run` and `Plan.run`. They pass each other short strings: a workspace, a
run id, a stage's name. What a run was asked to do stands in `runs/ID/run.json`; what a stage needs, where its result is
kept and which settings count stand in `nouns/stages.py`.

Ids are the first twelve hex digits of a fingerprint: equal inputs and settings give equal ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nouns.errors import Damaged, InputError, ModelServerGone, NotMade, StageFailed, SupernotesError
from nouns.notices import notice, notices_of
from nouns.run import Run
from nouns.stage import Counts, Progress, Stage, Tools, silent
from nouns.stages import ALL_STAGES, RUN_STAGES, STAGES, stage_named
from pipeline.code import stage_code
from pipeline.jobs import cores, jobs_for, work_shards
from pipeline.settings import Settings, as_dict, changed, output_settings, settings_of_run
from storage import runs
from storage.calls import Calls
from storage.manifest import require_whole, sealed, unsealed
from storage.store import TIMING, UNCOMPARED, Manifest, Store, canonical_json, digest_of, file_sha256, list_files


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
    carried: int = 0
    """Posts whose rows came from an earlier run."""

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "carried": self.carried,
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


@dataclass(frozen=True)
class Inputs:
    """What a stage of a run reads: finished stages of this run and of a second one, and what the request gave."""

    needs: Mapping[str, Input]
    given: Mapping[str, Input | tuple[Input, ...] | str | int]
    other: Mapping[str, Input]
    second: str = ""

    def names(self) -> dict[str, str]:
        """Digest by name, for the manifest: stages by their names, a second run's with its id before them."""
        found = {name: entry.digest for name, entry in self.needs.items()}
        found |= {f"second/{name}": entry.digest for name, entry in self.other.items()}
        for name, value in self.given.items():
            if isinstance(value, Input):
                found[name] = value.digest
            elif isinstance(value, tuple):
                found |= {f"{name}_{number}": entry.digest for number, entry in enumerate(value)}
        return dict(sorted(found.items()))

    def digests(self) -> dict[str, Any]:
        """What enters the fingerprint: the digests, and the values that were given."""
        values = {name: value for name, value in self.given.items() if isinstance(value, (str, int))}
        return self.names() | dict(sorted(values.items()))

    def run(self, run_id: str, posts: Iterable[int] | None = None) -> Run:
        """The run as a stage sees it."""

        def path_of(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(entry.path for entry in value)
            return value.path if isinstance(value, Input) else value

        return Run(
            run_id,
            {name: entry.path for name, entry in self.needs.items()},
            {name: path_of(value) for name, value in self.given.items()},
            None if posts is None else tuple(posts),
            Run(self.second, {name: entry.path for name, entry in self.other.items()}) if self.other else None,
        )


class Plan:
    """The stages of one run in one workspace."""

    def __init__(self, store: Store, run_id: str) -> None:
        text = store.read_text(f"runs/{run_id}/run.json")
        if text is None:
            known = ", ".join(store.list("runs")) or "none"
            raise InputError(f"There is no run {run_id!r} in the workspace {store.root!r}; its runs: {known}.")
        described = unsealed(text, f"{store.root}/runs/{run_id}/run.json")
        self.store = store
        self.run_id = run_id
        self.request = RunRequest(**(described["request"] | {"extra": tuple(described["request"].get("extra", ()))}))
        self.settings: Settings
        self.settings, self.retired_settings = settings_of_run(described["settings"])
        self.jobs: int | None = 1
        """Processes that work on shards at a time; None: as many as there are cores. A stage that waits for a server needs one."""

    # -- the public verbs ------------------------------------------------------------------------------------------

    def run(self, name: str, progress: Progress = silent, second: str = "") -> StageResult:
        """Carry out one stage of this run, or find it done.

        `second`: the run that a stage compares with: a later snapshot's for `learn_outcomes` (default: this one), another
        writer's for `compare_writers`.
        """
        stage = stage_named(name)
        if self.request.held_out and name in RUN_STAGES[RUN_STAGES.index("judge_candidates") :]:
            raise InputError(
                f"The run {self.run_id} holds drafts of held-out posts only, to compare writers; it has no {name}. Take the run it was made for."
            )
        try:
            if stage.replaced_by and (given := self._given(stage.replaced_by) or self._earlier_jury(stage)):
                return self._replaced(stage, given)
            result = self._sharded(stage, progress) if stage.per_post else self._whole(stage, progress, second)
            return self._against_earlier(result) if stage.name == "ingest" else result
        except (SupernotesError, BrokenPipeError):
            raise
        except OSError as error:
            if error.errno is None:
                raise StageFailed(f"{name} failed: {type(error).__name__}: {error}. Nothing of it was kept.") from error
            raise StageFailed(
                f"{name} stopped: {error.strerror or error} ({error.filename or self.store.root}). Nothing of the stage "
                "was kept; make room or mend the path, then run the same command again: finished stages are not repeated."
            ) from error
        except Exception as error:
            raise StageFailed(f"{name} failed: {type(error).__name__}: {error}. Nothing of it was kept.") from error

    def shards(self) -> list[list[int]]:
        """The eligible posts in shards of `run.posts_per_shard`, in the order of their ids. Empty: nothing is eligible."""
        import polars as pl

        directory = self.input("cluster_notes").path
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
        record = stage_named(stage)
        if not record.per_post:
            raise InputError(
                f"{stage!r} is not run in shards; these are: {', '.join(s.name for s in STAGES if s.per_post)}."
            )
        gathered = None
        with contextlib.suppress(Damaged):  # a damaged stage is made again from its shards
            gathered = self.store.require_whole(f"runs/{self.run_id}/{stage}")
        if gathered and gathered.fingerprint == self._fingerprint(record, self._inputs(record)):
            return StageResult(stage, "skipped", f"runs/{self.run_id}/{stage}", gathered.counts)
        shards = self.shards()
        if not 0 <= index < len(shards):
            raise InputError(f"{stage} has {len(shards)} shards; there is no shard {index}.")
        return self._shard(record, index, shards[index], progress)

    # -- inputs ----------------------------------------------------------------------------------------------------

    def input(self, stage: str) -> Input:
        """A finished stage of this run as an input. Raises `NotMade` naming the command that makes it, `Damaged` where it is not whole."""
        manifest = self.store.require_whole(f"runs/{self.run_id}/{stage}")
        if manifest is None:
            raise NotMade(
                f"Run {self.run_id} has no finished {stage} yet. Run it first: supernotes {stage_named(stage).verb} "
                f"--run {self.run_id} --workspace {self.store.root}"
            )
        where = runs.where(self.store, self.run_id, stage)
        if where != f"runs/{self.run_id}/{stage}" and not Path(where).is_absolute():
            manifest = self.store.require_whole(where) or manifest
        return Input(runs.local(self.store, self.run_id, stage), manifest.digest)

    def open(self, stage: str, posts: Iterable[int] | None = None) -> Run:
        """The run as that stage sees it: what it needs, and nothing else; `posts`: those alone."""
        inputs = self._inputs(stage_named(stage))
        return inputs.run(self.run_id, posts)

    def where(self, stage: str) -> str:
        """The directory of a finished stage, relative to the workspace (absolute if it lies outside)."""
        return runs.where(self.store, self.run_id, stage)

    def _inputs(self, stage: Stage, second: str = "") -> Inputs:
        """What a stage reads, each under the digest of its content."""
        other: dict[str, Input] = {}
        if stage.second:
            if not second and stage.name == "compare_writers":
                raise InputError(
                    "compare-writers needs --new: the id of a run whose drafts were written by the other writer."
                )
            after = Plan(self.store, second) if second else self
            other = {name: after.input(name) for name in stage.second}
        return Inputs(
            {name: self.input(name) for name in (*stage.needs, *filter(self._finished, stage.offered))},
            {name: value for name in stage.given if (value := self._given(name)) is not None},
            other,
            second,
        )

    def _finished(self, stage: str) -> bool:
        return self.store.manifest(f"runs/{self.run_id}/{stage}") is not None

    def _given(self, name: str) -> Input | tuple[Input, ...] | str | int | None:
        """What the request says under a name of `Stage.given`; None where it says nothing."""
        if name == "run_id":
            return self.run_id
        value = getattr(self.request, name)
        if name == "source":
            source = local_source(value, self.store)
            return Input(source, source_digest(source, self.store))
        if name == "jury":
            return find_jury(self.store, value) if value else None
        if name == "extra":
            return tuple(_outside(directory) for directory in value)
        return _outside(value) if isinstance(value, str) and value else value or None

    def _replaced(self, stage: Stage, given: Any) -> StageResult:
        """What stands in the stage's place becomes its result: what the request gave, or the jury of an earlier day."""
        manifest = require_whole(given.path)
        path = self._relative(given.path)
        runs.point(self.store, self.run_id, stage.name, path, manifest)
        counts = manifest.counts
        if not getattr(self.request, stage.replaced_by):
            text = f"{path} of an earlier day serves; run.jury_days=0 trains anew."
            counts = counts | {"notices": [*counts.get("notices", ()), notice("told", stage.name, text)]}
        return StageResult(stage.name, "skipped", path, counts)

    def _earlier_jury(self, stage: Stage) -> Input | None:
        """The jury of an earlier day that still serves, trained by this code, with these settings, seed and further notes."""
        from pipeline.carry import jury_that_serves

        extra = {f"extra_{number}": _outside(path).digest for number, path in enumerate(self.request.extra)}
        made = (stage_code(stage.name), self._settings(stage), self.settings.run.seed, extra)

        def alike(theirs: Manifest) -> bool:
            given = {name: digest for name, digest in theirs.inputs.items() if name.startswith("extra")}
            return made == (theirs.code, theirs.settings, theirs.seed, given)

        found = jury_that_serves(self.store, self.run_id, self.settings.run.jury_days, alike)
        return find_jury(self.store, found.removeprefix("models/")) if found else None

    def _relative(self, path: Path) -> str:
        try:
            return path.resolve().relative_to(self.store.home.resolve()).as_posix()
        except ValueError:
            return str(path)

    # -- carrying out ----------------------------------------------------------------------------------------------

    def _fingerprint(self, stage: Stage, inputs: Inputs, **more: Any) -> str:
        """Equal for equal work: the stage's name and code, every setting that counts, what it reads, the seed."""
        if self.request.held_out and stage.per_post:
            more |= {"held_out": [self.settings.export.test_share, self.settings.compare_writers.posts]}
        described = {
            "stage": stage.name,
            "code": stage_code(stage.name),
            "settings": self._settings(stage),
            "inputs": inputs.digests(),
            "seed": self.settings.run.seed,
        }
        return digest_of(described | more)

    def _settings(self, stage: Stage) -> dict[str, Any]:
        """The settings that can change a stage's output: its own, and those of the stages in `also` under their names."""
        return output_settings(self.settings, stage.name) | {
            name: output_settings(self.settings, name) for name in stage.also
        }

    def _whole(self, stage: Stage, progress: Progress, second: str = "") -> StageResult:
        """Run a whole stage (whose {id} is the fingerprint's beginning) unless its result is there already."""
        inputs = self._inputs(stage, second)
        if stage.name == "fit_raters":
            self._refuse_without_ratings(inputs)
        fingerprint = self._fingerprint(stage, inputs)
        rel = stage.keeps.format(id=fingerprint[:12], run=self.run_id, second=second, name=stage.name)
        started = time.monotonic()
        with self.store.lock(rel):
            found = self.store.finished(rel)
            if found and found.fingerprint == fingerprint:
                runs.point(self.store, self.run_id, stage.name, rel, found)
                return StageResult(stage.name, "skipped", rel, found.counts)
            reusable = None if "{id}" in stage.keeps else self._same_elsewhere(stage.name, fingerprint)
            with self.store.scratch(rel) as scratch:
                if reusable is not None:
                    _copy_outputs(self.store.local(reusable[0]), scratch, reusable[1])
                    counts = reusable[1].counts
                else:
                    counts = self._call(stage, scratch, inputs, fingerprint, progress)
                manifest = self._publish(stage, scratch, rel, inputs, fingerprint, counts, time.monotonic() - started)
        runs.point(self.store, self.run_id, stage.name, rel, manifest)
        state = "ran" if reusable is None else "skipped"
        return StageResult(stage.name, state, rel, manifest.counts, time.monotonic() - started)

    def _against_earlier(self, result: StageResult) -> StageResult:
        """The result of `ingest`, with a notice if notes of one of the workspace's last snapshots look lost in it."""
        from ingest.diff import doubt

        if self.request.as_of is not None or self.store.remote:
            return result
        earlier = [name for name in self.store.list("snapshots") if f"snapshots/{name}" != result.path]
        earlier.sort(key=lambda name: self.store.modified(f"snapshots/{name}/manifest.json"), reverse=True)
        for name in earlier[:3]:
            manifest = self.store.manifest(f"snapshots/{name}")
            if manifest is None or manifest.counts.get("as_of") is not None:
                continue
            reason = doubt(self.store.local(f"snapshots/{name}"), self.store.local(result.path))
            if reason:
                level = self.settings.ingest.shrunk
                text = f"since the snapshot {name} of this workspace, {reason}; see: supernotes diff"
                notices = [*result.counts.get("notices", ()), notice(level, "ingest", text)]
                if level == "refused":
                    error = InputError(f"{text}. To go on all the same: --set ingest.shrunk=warned")
                    error.notices = notices
                    raise error
                return replace(result, counts=result.counts | {"notices": notices})
        return result

    def _refuse_without_ratings(self, inputs: Inputs) -> None:
        tables = self.store.manifest(f"runs/{self.run_id}/ingest")
        ratings = tables.counts.get("tables", {}).get("ratings", {}).get("out", 0) if tables else 0
        if not ratings and not inputs.given:
            said = notices_of("ingest", tables.counts if tables else {})
            left = "".join(f"{entry['text']}. " for entry in said if entry["level"] != "told")
            raise InputError(
                f"{self.request.source!r} holds no ratings, so raters cannot be fitted. {left}Give --raters (a fit_raters "
                "output or X's scorer files) or --jury (a trained jury)."
            )

    def _publish(
        self, stage: Stage, scratch: Path, rel: str, inputs: Inputs, fingerprint: str, counts: Counts, seconds: float
    ) -> Manifest:
        return self.store.publish(
            scratch,
            rel,
            stage=stage.name,
            fingerprint=fingerprint,
            code=stage_code(stage.name),
            settings=self._settings(stage),
            inputs=inputs.names(),
            seed=self.settings.run.seed,
            counts=counts,
            seconds=seconds,
        )

    def _same_elsewhere(self, stage: str, fingerprint: str) -> tuple[str, Manifest] | None:
        """The same stage on the same inputs in another run of the workspace, if there is one."""
        for run in self.store.list("runs"):
            rel = f"runs/{run}/{stage}"
            if run != self.run_id:
                with contextlib.suppress(Damaged):  # another run's damage is mended by that run
                    manifest = self.store.manifest(rel)
                    if manifest and manifest.fingerprint == fingerprint and self.store.require_whole(rel):
                        return rel, manifest
        return None

    def _call(
        self,
        stage: Stage,
        out: Path,
        inputs: Inputs,
        fingerprint: str,
        progress: Progress,
        posts: Iterable[int] | None = None,
        ledger: dict[int, Counts] | None = None,
    ) -> Counts:
        """Call the stage's function: the run as it sees it, its settings, where to write, what to work with."""
        from threadpoolctl import threadpool_limits

        function = getattr(importlib.import_module(stage.step), stage.name)
        work = self.store.home / "runs" / self.run_id / ".journal" / stage.name / fingerprint[:16]
        work.mkdir(parents=True, exist_ok=True)
        tools = Tools(
            seed=self.settings.run.seed,
            progress=progress,
            cores=cores(),
            vectors=self.store.home / ".cache" / "embeddings",
            calls=Calls(self.store, max_age_days=self.settings.draft_candidates.kept_days)
            if stage.calls_model
            else None,
            checkpoints=work,
            ledger=ledger,
        )
        also = {name: self._settings_of(name) for name in stage.also}
        # A post's last bits must not depend on how many cores there are, so shards, not products, are spread over them.
        with threadpool_limits(1, "blas") if stage.per_post else contextlib.nullcontext():
            counts: Counts = function(inputs.run(self.run_id, posts), self._settings_of(stage.name), out, tools, **also)
        shutil.rmtree(work, ignore_errors=True)
        return counts

    def _settings_of(self, stage: str) -> Any:
        """A stage's settings; the writer's with an adapter of the workspace as a directory of this machine."""
        return self._drafting() if stage == "draft_candidates" else getattr(self.settings, stage)

    def _drafting(self) -> Any:
        """The writer's settings, an adapter of the workspace as a directory of this machine."""
        settings = self.settings.draft_candidates
        if not settings.adapter.startswith("models/"):
            return settings
        return replace(settings, adapter=str(self.store.local(settings.adapter.removesuffix("/adapter")) / "adapter"))

    # -- shards ----------------------------------------------------------------------------------------------------

    def _shard(self, stage: Stage, index: int, posts: list[int], progress: Progress) -> StageResult:
        from pipeline import carry

        inputs = self._inputs(stage)
        fingerprint = self._fingerprint(stage, inputs, posts=[str(post) for post in posts])
        rel = f"runs/{self.run_id}/.shards/{stage.name}/{fingerprint[:16]}"
        with self.store.lock(rel):
            found = self.store.finished(rel)
            if found and found.fingerprint == fingerprint:
                return StageResult(stage.name, "skipped", rel, found.counts)
            with self.store.scratch(rel) as scratch:
                started = time.monotonic()
                keys = self._keys(stage, inputs, posts)
                earlier = carry.find(self.store, stage.name, keys)
                todo = [post for post in posts if post not in earlier.posts]
                ledger: dict[int, Counts] = {}
                counts = self._call(stage, scratch, inputs, fingerprint, progress, todo, ledger) if todo else None
                if self.settings.run.require_complete and not self.request.recorded:
                    _refuse_without_server(
                        scratch, f"{stage.name}, shard {index}", self.settings.draft_candidates.base_url
                    )
                counts = carry.complete(scratch, earlier, keys, ledger, counts)
                (scratch / TIMING).write_text(json.dumps({"carried": len(earlier.posts)}), encoding="utf-8")
                manifest = self._publish(stage, scratch, rel, inputs, fingerprint, counts, time.monotonic() - started)
        seconds = time.monotonic() - started
        return StageResult(stage.name, "ran", rel, manifest.counts, seconds, carried=len(earlier.posts))

    def _keys(self, stage: Stage, inputs: Inputs, posts: list[int]) -> dict[int, str]:
        """Per post a digest of all that its rows of this stage rest on; empty where the stage cannot tell."""
        own = getattr(importlib.import_module(stage.step), "keys", None)
        if own is None or not self.settings.run.carry:
            return {}
        from pipeline.carry import full_keys

        also = {name: self._settings_of(name) for name in stage.also}
        tools = Tools(seed=self.settings.run.seed)
        found = own(inputs.run(self.run_id, posts), self._settings_of(stage.name), tools, **also)
        # What of the jury reaches a draft, a note's worth in words and steps, stands in the draft's own key.
        reach_all = {"recorded"} | ({"train_jury"} if stage.name != "draft_candidates" else set())
        shared = {
            "stage": stage.name,
            "code": stage_code(stage.name),
            "settings": self._settings(stage),
            "seed": self.settings.run.seed,
            "inputs": {name: digest for name, digest in inputs.digests().items() if name in reach_all},
        }
        return full_keys(found, shared)

    def _sharded(self, stage: Stage, progress: Progress) -> StageResult:
        """All shards of a per-post stage, then one directory with their rows in the order of the posts' ids."""
        from pipeline.gather import gather

        rel = f"runs/{self.run_id}/{stage.name}"
        inputs = self._inputs(stage)
        fingerprint = self._fingerprint(stage, inputs)
        with self.store.lock(rel):
            found = self.store.finished(rel)
            if found and found.fingerprint == fingerprint:
                return StageResult(stage.name, "skipped", rel, found.counts)
            started = time.monotonic()
            reusable = self._same_elsewhere(stage.name, fingerprint)
            if reusable is not None:
                with self.store.scratch(rel) as scratch:
                    _copy_outputs(self.store.local(reusable[0]), scratch, reusable[1])
                    seconds = time.monotonic() - started
                    manifest = self._publish(stage, scratch, rel, inputs, fingerprint, reusable[1].counts, seconds)
                return StageResult(stage.name, "skipped", rel, manifest.counts, seconds)
            shards = self.shards()
            results = []
            total = sum(len(posts) for posts in shards)
            done = 0
            remote_writer = stage.calls_model and self.settings.draft_candidates.backend != "extractive"
            jobs = 1 if remote_writer or not shards else jobs_for(self.jobs, shards)
            if jobs > 1:
                sizes = [len(posts) for posts in shards]
                of = (self.store.root, self.run_id, self.settings, stage.name)
                work_shards(work_shard, of, sizes, jobs, progress)
            for index, posts in enumerate(shards):
                progress(f"shard {index + 1} of {len(shards)}", done, total)
                results.append(self._shard(stage, index, posts, progress))
                done += len(posts)
            progress("gathering", total, total)
            # What other tasks worked on their shards is this stage's work, too.
            worked = sum(self._timing(r.path, "seconds") for r in results if r.state == "skipped")
            carried = int(sum(self._timing(r.path, "carried") for r in results))
            with self.store.scratch(rel) as scratch:
                if not results:  # nothing is eligible: the stage still writes its tables, empty
                    counts = self._call(stage, scratch, inputs, fingerprint, progress, [])
                else:
                    counts = gather([self.store.local(r.path) for r in results], [r.counts for r in results], scratch)
                if stage.name == "select_winners":
                    counts = self._add_excluded_posts(scratch, counts)
                seconds = worked + time.monotonic() - started
                (scratch / TIMING).write_text(json.dumps({"carried": carried}), encoding="utf-8")
                manifest = self._publish(stage, scratch, rel, inputs, fingerprint, counts, seconds)
            for result in results:
                self.store.remove(result.path)
        return StageResult(stage.name, "ran", rel, manifest.counts, time.monotonic() - started, carried)

    def _timing(self, rel: str, name: str) -> float:
        """A number from a finished directory's timing: the seconds it took to make, the posts carried over; 0 if nobody knows."""
        path = self.store.local(rel) / TIMING
        return float(json.loads(path.read_text(encoding="utf-8")).get(name, 0.0)) if path.is_file() else 0.0

    def _add_excluded_posts(self, out: Path, counts: dict[str, Any]) -> dict[str, Any]:
        """Append an abstention for every post that `cluster_notes` excluded, so that every post has its line."""
        import polars as pl

        from jury.select.select import excluded_selections

        posts = pl.read_parquet(self.input("cluster_notes").path / "posts.parquet")
        lines = excluded_selections(posts.filter(~pl.col("eligible")).sort("post_id"))
        rejected = dict(counts.get("rejected", {}))
        n = 0
        with (out / "selections.jsonl").open("a", encoding="utf-8") as stream:
            for line in lines:
                stream.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
                rejected[line["reason_code"]] = rejected.get(line["reason_code"], 0) + 1
                n += 1
        return counts | {"in": counts.get("in", 0) + n, "rejected": dict(sorted(rejected.items()))}


def work_shard(root: str, run_id: str, settings: Settings, stage: str, index: int) -> None:
    """One shard of a run in a process of its own; a finished one is found done."""
    plan = Plan(Store(root), run_id)
    plan.settings = settings
    plan.run_shard(stage, index)


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

    failures = [call["failure"] or "" for call in read_calls(path)]
    codes = [failure.split(":", 1)[0].split(";", 1)[0].strip() for failure in failures]
    silent = sum(code in SILENT for code in codes)
    gone = sorted({code for code in codes if code in LEFT_ALONE}) or (["connection"] if silent * 2 > len(codes) else [])
    if gone:
        told = Counter(
            failure for failure in failures if failure and not failure.startswith("circuit_open")
        ).most_common(1)
        words = f"; it said: {told[0][0][:200]}" if told else ""
        raise ModelServerGone(
            f"{what}: the model server at {address} was given up ({', '.join(gone)}{words}); {codes.count(''):,} of {len(codes):,} calls were "
            "answered, are kept and will not be asked for again. Start the server, then run the same command again or clear the "
            "task. To go on with the answers there are, for good: run.require_complete=false."
        )


def _copy_outputs(source: Path, target: Path, manifest: Manifest) -> None:
    for name in [*manifest.outputs, *UNCOMPARED[1:]]:
        if (source / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


# -- inputs from outside the workspace -----------------------------------------------------------------------------


def _outside(name: str) -> Input:
    """A file or directory given by the user, named by its content; what a URL names is copied to this machine first."""
    path = _brought(name) if "://" in name else Path(name).expanduser()
    if not path.exists():
        raise InputError(f"{name!r} does not exist. Give an existing file or directory.")
    if path.is_file():
        return Input(path, file_sha256(path))
    files = [file for file in list_files(path) if file.name != "timing.json"]
    if not files:
        raise InputError(f"{name!r} is an empty directory.")
    return Input(path, digest_of({file.relative_to(path).as_posix(): file_sha256(file) for file in files}))


def _brought(address: str) -> Path:
    """A copy of the file at an address, as it is there now."""
    import fsspec

    folder = Path(tempfile.gettempdir()) / f"supernotes-{os.getuid()}-given"
    target = folder / hashlib.sha256(address.encode()).hexdigest()[:16] / address.rsplit("/", 1)[-1].split("?")[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{os.getpid()}.part")
    try:
        if address.startswith(("http://", "https://")):
            import httpx

            with httpx.stream("GET", address, follow_redirects=True, timeout=60) as answer, part.open("wb") as sink:
                answer.raise_for_status()
                for chunk in answer.iter_bytes():
                    sink.write(chunk)
        else:
            fs, base = fsspec.core.url_to_fs(address)
            fs.invalidate_cache()
            fs.get_file(base, str(part))
    except Exception as error:
        raise InputError(
            f"{address!r} cannot be read: {type(error).__name__}: {error}. Give a table that is there."
        ) from error
    part.replace(target)
    return target


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
        manifest = store.require_whole(rel)
        if manifest:
            return Input(store.local(rel), manifest.digest)
    directory = Path(name).expanduser()
    if (directory / "manifest.json").is_file():
        return Input(directory.resolve(), require_whole(directory).digest)
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
        settings = changed(settings, draft_candidates=drafting)
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
    store.write_text(f"runs/{run_id}/run.json", sealed(described))
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
    results = list(results)
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
        "notices": [entry for result in results for entry in notices_of(result.stage, result.counts)],
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
