"""Instruction data for micro-expression models: pairs, words, conversations, checks."""
