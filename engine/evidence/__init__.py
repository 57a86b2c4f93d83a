"""What a describer is shown of an onset-apex pair: motion maps, region tables, and where they are kept."""
