"""Action units: names, sides, and what annotated data sets say about emotion."""
