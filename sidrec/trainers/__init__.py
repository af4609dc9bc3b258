"""What is trained, each by the one loop of `training`."""
