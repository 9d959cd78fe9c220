"""Threads, calls and locks behind the requests: a periodic thread, a call in a daemon thread, locks, imports."""
