"""What is true of a lead, as pure functions: no I/O, no clock."""
