"""What is seen of processes: all of them found, where each stands, and why. Changes nothing."""
