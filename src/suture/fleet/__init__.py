"""The server of a fleet: hosts, what is open where, rollouts, users, pages. What hosts may run is decided by the feed's
signatures: the server only chooses among signed patches, so who steals it can delay and never inject."""
