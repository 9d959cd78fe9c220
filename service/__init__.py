"""The BentoML service; `app.py` is what BentoML loads, and each folder is one room."""
