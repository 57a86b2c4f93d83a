"""Purpose, consent, withdrawal, erasure, retention and the audit log."""
