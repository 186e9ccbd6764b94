"""Checks on a note's text. See README.md beside this file and `synthesis/note_spec.toml`."""

from synthesis.check.check import Tools, admission_report, check_text, check_text_json, passed
from synthesis.check.duplicates import near_duplicates
from synthesis.check.injection import instruction_like
from synthesis.spec import NoteSpec, Principle, note_spec, read_note_spec

__all__ = [
    "NoteSpec",
    "Principle",
    "Tools",
    "admission_report",
    "check_text",
    "check_text_json",
    "instruction_like",
    "near_duplicates",
    "note_spec",
    "passed",
    "read_note_spec",
]
