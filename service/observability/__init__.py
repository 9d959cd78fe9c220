"""What an operator sees: metrics for Prometheus, evaluation scores, and logs without the words of callers."""
