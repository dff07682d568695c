"""The background worker: turns LeadByte queue IDs into answers (see README.md)."""
