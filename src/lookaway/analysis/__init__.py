"""Stored rows to tidy frames; no torch here."""
