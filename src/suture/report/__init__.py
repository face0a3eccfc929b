"""The vocabulary of what is reported: where hosts, processes and holes stand, what was done, and why. Values only;
opens and asks nothing."""
