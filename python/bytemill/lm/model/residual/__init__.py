"""What is added to the residual stream: blocks, and what models of 2026 have besides."""
