"""How a pretraining run starts: from what, with how many rows at a time, and what it says."""
