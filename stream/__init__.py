"""Everything that moves in time: frames in, events out."""

import os

# OpenCV reads this once, when it is first imported, and would otherwise decode a 3 MB picture of
# 32000×32000 pixels into gigabytes. The bound is that of mellm.stream.sources.base.MAX_PIXELS.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(4096 * 2304))
