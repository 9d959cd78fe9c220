"""What an operator sees: the metrics of Prometheus, evaluation scores, and logs without the words of callers."""
