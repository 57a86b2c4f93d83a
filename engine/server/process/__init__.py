"""The server as a process: allocator, event loop, systemd, log of states."""
