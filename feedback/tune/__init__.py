"""Tuning the writer on preference rows: TRL's trainers with LoRA, and two losses TRL does not have."""
