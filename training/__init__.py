"""Synthetic faces and model training (extra `train`)."""
