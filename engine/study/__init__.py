"""A study: many recordings by a table, a run of each, and what they add up to."""
