"""Container images: building them, their registries, who made them, their vulnerabilities."""
