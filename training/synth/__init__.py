"""Rendered and warped faces whose motion is known exactly."""
