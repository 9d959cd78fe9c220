"""AWS: Terraform's files, what its machine runs, and the command that checks before Terraform does."""
