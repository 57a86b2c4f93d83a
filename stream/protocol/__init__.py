"""The protocol mellm.v1 without sockets: events, messages, schema, sessions."""
