"""What comes after the base model: stages of training on conversations."""
