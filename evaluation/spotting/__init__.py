"""Spotters side by side on the same clips: `mellm eval spotting` (extras `eval` and `train`)."""
