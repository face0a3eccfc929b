"""What is changed in a process: a patch placed, entries switched, all in one stop; and taken back."""
