"""The suite that ships: pictures of our own, one or more for every sub-task of the survey. Drawn by :mod:`.draw`."""
