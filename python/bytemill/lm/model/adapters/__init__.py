"""Few weights that are trained beside frozen ones."""
