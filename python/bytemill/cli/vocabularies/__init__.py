"""Programs that make a vocabulary of another."""
