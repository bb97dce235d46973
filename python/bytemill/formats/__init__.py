"""Vocabularies in files and other libraries' shapes; nothing here knows a `Tokenizer`.

`folder` is bytemill's own format and the state in pickles, `tiktoken` that library's encodings and
files, `gpt2` vocab.json and merges.txt, `huggingface` tokenizer.json, whose parts are read in
`tokenizer_json`; `source` reads whichever of them a name stands for. Each reads a
`bytemill.vocabulary.Vocabulary` and writes one; what it cannot express or keep it refuses by name.
`byte_alphabet` has GPT-2's printable stand-ins for bytes, `selfcheck` the sample of texts that
exports encode through the other library before they are trusted.
"""
