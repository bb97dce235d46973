"""Programs about several training runs at once."""
