"""``python -m mellm.clients.cli``: the command without its entry point."""

from mellm.clients.cli import main

main()
