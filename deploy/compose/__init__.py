"""The stack of one machine: its compose file, its secrets, its backups."""
