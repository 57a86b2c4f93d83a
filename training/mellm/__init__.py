"""Training of multimodal models on the instruction data, mellm-nano among them."""
