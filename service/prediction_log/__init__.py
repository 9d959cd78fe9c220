"""The prediction log: entries, spool, shipper and retention, and how one person's rows are found and forgotten."""
