"""rtvc: a real-time voice converter."""

import os

__version__ = "0.1.0"

# onnxruntime would report its use to its maker over the network; it looks at this when it is loaded
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
