"""The programs that make an assistant of a base model, a stage each."""
