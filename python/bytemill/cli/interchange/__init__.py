"""Programs that take models into other tools, and out of them."""
