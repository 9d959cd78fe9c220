"""Who may send which request, and how often: API keys and their scopes, rate limits, and the audit log."""
