"""Everything that runs on this one machine: embedded servers, the launcher, the demo."""
