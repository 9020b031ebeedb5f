"""Classifiers: pixels in, logits out."""
