"""Who is trained on and who is tested on: folds, official splits, and the composite of three classes. Pure."""
