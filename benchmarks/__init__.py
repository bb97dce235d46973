"""Benchmarks: one fresh process per library and run, equality before speed, the spread beside it."""
