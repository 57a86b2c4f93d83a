"""How often describers are right: units, class, and when to say nothing. ``mellm eval describing``."""
