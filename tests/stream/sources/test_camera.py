import errno

import pytest

from mellm.stream.errors import SourceNotFound, SourceUnauthorized, SourceUnreachable
from mellm.stream.sources import open_source
from mellm.stream.sources.failures import camera_failure


@pytest.mark.parametrize("uri", ["99", "/dev/video99"])
def test_no_such_camera(uri):
    with pytest.raises(SourceNotFound, match="/dev/video99: no such camera"):
        open_source(uri, id="cam")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), SourceUnauthorized),
        (OSError(errno.EBUSY, "Device or resource busy"), SourceUnreachable),
        (OSError(errno.ENODEV, "No such device"), SourceNotFound),
        (OSError(errno.EIO, "Input/output error"), SourceUnreachable),
    ],
)
def test_failures_are_typed(error, kind):
    assert isinstance(camera_failure(error, "/dev/video0"), kind)
