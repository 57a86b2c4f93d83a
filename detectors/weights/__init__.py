"""The models' files: pinned sources, hashes, conversion, cache."""
