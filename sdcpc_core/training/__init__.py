"""Training: from a data set to weights."""
