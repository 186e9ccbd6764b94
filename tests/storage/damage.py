"""Damage done to a workspace by its seed: a byte flipped, a file cut, emptied or deleted, a whole directory deleted.

`python -m tests.storage.damage --workspace W [--times 500] [--seed 0]` damages a copy of W again and again, mends it from the original, and says how often
`supernotes verify` noticed. One JSON line; exit code 1 and the seeds if anything went unnoticed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from pathlib import Path

from storage.store import Store
from storage.verify import verify

DERIVED = ("report.html", "report.json")
"""Written anew by every run, from what is verified."""


def victims(workspace: Path) -> list[Path]:
    """Every file that a run rests on."""
    found = []
    for folder in ("snapshots", "models", "runs", "exports", "calls", "vectors"):
        found += [path for path in (workspace / folder).rglob("*") if path.is_file()]
    return sorted(
        path for path in found if path.name not in DERIVED and not {".measures", ".journal"} & set(path.parts)
    )


def injure(workspace: Path, seed: int) -> tuple[Path, str]:
    """Damage one thing of a workspace; the path, and in words what was done to it."""
    rng = random.Random(seed)
    path = rng.choice(victims(workspace))
    how = rng.choice(["flip", "flip", "cut", "empty", "delete", "delete directory"])
    data = path.read_bytes()
    if how == "delete directory" and path.parent.parent != workspace / "runs":
        path = path.parent
        shutil.rmtree(path)
    elif how.startswith("delete") or not data:
        path.unlink()
    elif how == "flip":
        at = rng.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
    elif how == "cut":
        path.write_bytes(data[: rng.randrange(len(data))])
    else:
        path.write_bytes(b"")
    return path, how


def mend(workspace: Path, original: Path, path: Path) -> None:
    """Put back what was damaged."""
    source = original / path.relative_to(workspace)
    if source.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(source, path)
    else:
        shutil.copy2(source, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--times", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "workspace"
        shutil.copytree(args.workspace, copy)
        assert not verify(Store(copy)).damaged, "the workspace is damaged before anything was done to it"
        for seed in range(args.seed, args.seed + args.times):
            path, how = injure(copy, seed)
            if not verify(Store(copy)).damaged:
                missed.append({"seed": seed, "path": path.relative_to(copy).as_posix(), "how": how})
            mend(copy, args.workspace, path)
    print(json.dumps({"times": args.times, "noticed": args.times - len(missed), "missed": missed}))
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    main()
