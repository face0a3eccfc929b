"""Signed publication and verified download of patches (The Update Framework)."""
