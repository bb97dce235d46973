"""Vocabularies in other shapes: our folder, GPT-2's two files, tiktoken, Hugging Face."""
