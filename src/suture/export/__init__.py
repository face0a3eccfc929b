"""What a host reports, in the formats of scanners and monitoring. Pure: documents of `report/` in, text out."""
