"""Audio devices, shared-memory links and clock-drift control."""
