"""Where and in what a model computes."""
