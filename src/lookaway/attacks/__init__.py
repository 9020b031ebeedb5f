"""Attacks: pixels in, perturbed pixels for each ε out."""
