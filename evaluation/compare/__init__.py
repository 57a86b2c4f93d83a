"""Multimodal models side by side: the same questions to many endpoints, one report."""
