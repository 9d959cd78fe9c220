"""What several candidates use: encoder, embeddings, export to ONNX, progress."""
