"""Images: found, split, and brought to the grid of pixels."""
