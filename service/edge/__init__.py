"""The entry of every request: connections, the middleware that admits and answers each request, and the handlers."""
