"""Fine-tuning a multimodal model on the instruction data: typed configuration, recipes, training, card."""
