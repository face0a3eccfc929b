"""Where a fix rejects something: the places in its source at which an attempt to use the closed hole can be counted."""
