"""The checked parameters of `zenml_config.yaml`: their schema, and the reader that turns mistakes into sentences."""
