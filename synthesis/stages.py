"""The writing room's stages: read, call, write into `out`, return counts. No manifest here; the pipeline writes it last."""

from __future__ import annotations

from synthesis.check_stage import check_candidates
from synthesis.cluster_stage import cluster_notes
from synthesis.draft_stage import draft_candidates, draft_requests_json

__all__ = ["check_candidates", "cluster_notes", "draft_candidates", "draft_requests_json"]
