"""A vocabulary as a fast tokenizer of Hugging Face's transformers.

`fast` has the class, which is transformers' own with another engine; `engine` is that engine: the
part of `tokenizers.Tokenizer` that transformers calls, over the Rust core. `encoding` has its
results, `postprocess` what is put around texts, `truncation` how texts are cut and filled, and
`tokens` is what tokens are called, `added` puts some into a vocabulary,
`sections` reads and writes settings.

Only `fast` imports transformers, and only `bytemill.Tokenizer.as_transformers` imports `fast`.
"""
