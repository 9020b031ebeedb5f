"""Heatmaps: where a classifier looks."""
