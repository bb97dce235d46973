"""Several processes that train one model: how they find each other, agree, and share the work."""
