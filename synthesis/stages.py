"""The writing room's stages: read, call, write into `out`, return counts. No manifest here; the pipeline writes it last."""

from __future__ import annotations

from synthesis.cluster_stage import cluster_notes

__all__ = ["cluster_notes"]
