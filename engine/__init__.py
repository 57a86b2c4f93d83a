"""Wires and schedules: from frames to described expressions."""
