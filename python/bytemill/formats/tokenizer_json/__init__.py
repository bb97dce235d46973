"""What a tokenizer.json says: `content` is a whole file as a vocabulary, made of the other parts.

`pipeline` has the normalizer and the pre-tokenizer, `added_tokens` the added tokens and their ids,
`rows` makes one pattern of several splits in a row,
`templates` has the ids that a post-processor puts around a text.
"""
