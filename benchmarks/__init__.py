"""Benchmarks: a fresh process per library and run, equality before speed, and the spread."""
