"""Quintet: raw data to small, 5-level-quantized, exported and evaluated models, with proof of what made what."""

import os

# Read when torch is imported. Torch's idle threads would else spin for milliseconds after each of its products, on the cores that our own
# kernels' threads need: with two threads on two cores NeuroGen at its documentation's sizes trains a quarter faster without.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
