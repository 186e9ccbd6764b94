"""Checks on a note's text. See README.md beside this file and `synthesis/note_spec.toml`."""
