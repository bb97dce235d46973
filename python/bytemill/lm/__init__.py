"""The language-model stack: models, optimizers, training, text. Needs the extra `lm` (torch)."""
