"""What is in the picture: faces, landmarks, motion signals, spotted expressions."""
