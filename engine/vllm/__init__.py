"""vLLM as a server for describers, in an environment of its own."""
