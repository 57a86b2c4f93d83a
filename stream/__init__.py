"""Everything that moves in time: frames in, events out."""
