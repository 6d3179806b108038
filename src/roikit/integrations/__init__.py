"""Swapping an extractor into detectors from elsewhere."""
