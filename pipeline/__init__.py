"""Quintet: raw data to small, 5-level-quantized, exported and evaluated models, with proof of what made what."""

__version__ = "0.1.0"
