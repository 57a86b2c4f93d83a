"""Consumers of events: the command line, the Python client, exporters, the dashboard."""
