"""Makes types.safetensors with Hugging Face's own library; run it as `python make-safetensors.py` beside the file.

One tensor of every type that src/formats/safetensors.ts supports, plus a scalar and an empty one. The values are
those of tests/formats/safetensors-golden.test.ts.
"""
import json
import pathlib
import sys

import safetensors
import torch
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent
values = [0, 1, 2, 3, 100, 127]
tensors = {
    "f64": torch.tensor(values, dtype=torch.float64).reshape(2, 3) / 3,
    "i64": torch.tensor(values, dtype=torch.int64).reshape(2, 3) - 2**40,
    "f32": torch.tensor(values, dtype=torch.float32).reshape(3, 2) / 3,
    "i32": torch.tensor(values, dtype=torch.int32).reshape(6) - 5,
    "bf16": (torch.tensor(values, dtype=torch.float32) / 3).to(torch.bfloat16).reshape(1, 6),
    "f16": (torch.tensor(values, dtype=torch.float32) / 3).to(torch.float16).reshape(1, 6),
    "i16": torch.tensor(values, dtype=torch.int16) - 300,
    "i8": torch.tensor(values, dtype=torch.int8) - 64,
    "u8": torch.tensor(values, dtype=torch.uint8) + 100,
    "bool": torch.tensor(values) > 1,
    "scalar \u00e9\u2028\"": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
}
save_file(tensors, here / "types.safetensors", metadata={"format": "pt"})

expected = {
    name: {"shape": list(t.shape), "hex": t.contiguous().flatten().view(torch.uint8).numpy().tobytes().hex()
           if t.dim() else t.reshape(1).view(torch.uint8).numpy().tobytes().hex()}
    for name, t in tensors.items()
}
versions = {"safetensors": safetensors.__version__, "torch": torch.__version__, "python": sys.version.split()[0]}
(here / "types.json").write_text(
    json.dumps({"command": "python make-safetensors.py", "versions": versions, "tensors": expected}, indent=1) + "\n"
)
