"""How the templates and weights of the rules describer are made and measured."""
