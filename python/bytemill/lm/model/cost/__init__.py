"""What a model costs: parameters, memory and FLOPs, counted before it is made."""
