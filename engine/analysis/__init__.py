"""From frames to described expressions: the pipeline of one source, live and offline."""
