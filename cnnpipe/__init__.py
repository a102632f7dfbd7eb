"""Convolutional networks taken apart from first principles, as a reproducible pipeline."""
