"""Where code runs that models write: an interpreter in a process of its own, with bounds on all it may use."""
