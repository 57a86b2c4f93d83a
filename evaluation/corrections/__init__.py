"""A run held against what a person made of it in ELAN or in a table."""
