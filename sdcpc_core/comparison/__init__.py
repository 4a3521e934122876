"""Comparison of evaluations of several models."""
