"""What the documents point at is there: files, folders, links within the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_NOT_OURS = {"workspace", "data", "node_modules", "__pycache__"}


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in _NOT_OURS:
            found += _files(path)
        elif path.is_file():
            found.append(path.relative_to(ROOT))
    return found


FILES = _files(ROOT)
PAGES = [p for p in FILES if p.suffix == ".md" and not str(p).startswith(("docs/experiments", "CHANGELOG"))]
_MADE_BY_A_RUN = {"data_dictionary.md", "trl_grpo.yaml", "synthesis/check/NAME.py", "supernotes.toml"}


def _is_there(page: Path, name: str) -> bool:
    """By its path from the root or the page, or by its name below the page's folder (at the root: anywhere)."""
    parts = Path(name).parts
    return (
        any(f.parts[-len(parts) :] == parts and f.parts[: len(page.parent.parts)] == page.parent.parts for f in FILES)
        or Path(name) in FILES
    )


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_a_page_names_exists(page):
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`([\w./-]+\.(?:py|md|toml|yaml|sql|js|css))`", text)) - _MADE_BY_A_RUN
    assert not sorted(name for name in named if not _is_there(page, name))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_within_the_repository_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text("utf-8"))
    assert not sorted(link for link in links if not (ROOT / page.parent / link).exists())
