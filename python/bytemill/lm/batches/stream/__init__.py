"""Text, as it lies in files or comes from an iterable -> rows of ids, encoded while training.

`documents` knows the order of all documents and the place of each; `encoded` turns them into ids in
background threads; `packing` fills rows; `loader` makes batches of the rows of one source or of
several, the same for any number of ranks.
"""
