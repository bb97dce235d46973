"""What is saved of a model and its training, and how it comes back."""
