"""Learning from preferences: of two answers, which is the better one (DPO)."""
