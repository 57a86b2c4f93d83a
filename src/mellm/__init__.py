"""Spots and describes facial micro-expressions in live video and recordings."""
