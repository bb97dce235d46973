"""A training run: its configuration, its plan, its loop, and what it tells."""
