"""Numbers from pairs of tensors."""
