"""Optimizers, and how their learning rates change."""
