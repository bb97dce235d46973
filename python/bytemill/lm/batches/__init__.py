"""Ids on disk, and the batches that are made of them."""
