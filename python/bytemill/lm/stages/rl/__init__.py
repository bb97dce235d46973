"""Reinforcement learning: a model answers questions, a judge rewards it, and likelier become the
answers that were better than the others to the same question."""
