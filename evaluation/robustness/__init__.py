"""What breaks first, and by how much, when pictures get worse: ``mellm eval robustness``."""
