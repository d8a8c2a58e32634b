"""Attribution: which step of a conversion cost what, and where a loss sits that no step declares."""
