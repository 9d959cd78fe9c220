"""The door of the service: connections, the middleware that admits and answers each request, and the handlers."""
