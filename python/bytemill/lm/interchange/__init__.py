"""Models into other tools' files, and out of them."""
