"""The `transformer` and `lora` candidates: a fine-tuned encoder, resumed when killed."""
