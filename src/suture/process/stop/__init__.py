"""Holding the threads of a process, borrowing one for system calls, and letting all go as they were."""
