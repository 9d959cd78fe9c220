"""BentoCloud: the file that it is asked with, and the command that creates, updates and removes a deployment."""
