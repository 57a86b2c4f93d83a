"""``python -m clients.cli``: the command without its entry point."""

from clients.cli import main

main()
