"""From a source to a bounded buffer: pace, reconnection, the runner of one source."""
