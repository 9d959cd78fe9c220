import os

# onnxruntime reports to its maker from version 1.29 on; it reads this once, when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
