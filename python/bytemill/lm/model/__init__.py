"""The Transformer: what it is made of, what it computes, and what it costs."""
