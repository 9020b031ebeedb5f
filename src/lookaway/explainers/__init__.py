"""Explainers: heatmaps of what a classifier's score rests on."""
