"""Training of the causal spotter network."""
