"""What a step is made of: batches, an objective, gradients, ranks, and how long it takes."""
