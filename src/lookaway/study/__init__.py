"""A study: planned, run in cells, stored."""
