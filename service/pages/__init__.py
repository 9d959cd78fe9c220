"""The two web pages with their static files, and the database queries of the dashboard."""
