"""The engine over data sets that a user holds: ``mellm eval spotting|recognition|understanding --dataset``."""
