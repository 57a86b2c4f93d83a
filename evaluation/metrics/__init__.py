"""Challenge metrics as pure functions: intervals in, counts and ratios out."""
