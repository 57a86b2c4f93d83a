"""The sample and the figures of the documents."""
