"""The event log and its readers: journal, erasure, hub, subscribers."""
