#!/usr/bin/env bash
# Installs the judges of bench/judges.py, and what benches of voices need besides: bash bench/install_eval.sh [PYTHON]  (default .venv/bin/python)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-$root/.venv/bin/python}

"$python" -m pip install -e "$root[eval,train,voices]" -r "$root/bench/eval-requirements.txt"
# Their declared needs are wider than what is used of them: torchaudio, transformers, a webrtcvad that must be compiled
"$python" -m pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0 Resemblyzer==0.1.4 \
    torchfcpe==0.0.4 local-attention==1.11.2 hyper-connections==0.4.11 torch-einops-utils==0.2.0 einops==0.8.2

cd "$root"
"$python" - <<'CHECK'
import numpy as np

from bench.judges import Judges
from bench.presets import bundled_sample, read, recording

sound = read(recording(bundled_sample(), "female"))
judges = Judges()
print(judges.transcribe(*sound))
print(judges.dnsmos(*sound), judges.distillmos(*sound), [v.shape for v in judges.speakers(*sound)], np.max(judges.f0(*sound)))
CHECK
