"""Layers that several extractors and detectors are built of."""
