"""Evaluation: how well and how steadily weights label a data set."""
