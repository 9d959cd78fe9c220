"""The contract of the HTTP API: the table of routes, the models of bodies, their checks, errors and OpenAPI."""
