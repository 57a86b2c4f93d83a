"""One program, several machines: cameras' nodes, describers, gateways, and workers for recordings, joined by a bus.

A *camera node* follows the cameras whose leases it holds, keeps what it finds in its own journal, and puts it on the
bus from there. A *describer* takes evidence and answers. A *gateway* copies what the camera nodes say into a journal of
its own and serves clients. On one machine there are no roles, and nothing here is imported.
"""
