"""Data sets, clips and their augmentation."""
