"""The one door to LeadByte."""
