"""Kubernetes: the manifests, and the command that applies them and takes them back."""
