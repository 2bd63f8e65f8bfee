"""What bench_weights.rs measures beside: the same operations as the Python stack does them.

python bench_weights.py recover|merge|convert, in a folder with raw, diff and lora; the result goes to theirs, and the
seconds that it took without the imports to peer.seconds.
"""

import sys
import time
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

started = time.monotonic()


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, torch_dtype="auto", low_cpu_mem_usage=True)


operation = sys.argv[1]
with torch.no_grad():
    model = load("raw")
    if operation == "recover":
        tuned = load("diff")
        raw = model.state_dict()
        for name, tensor in tuned.state_dict().items():
            tensor.add_(raw[name])
        model = tuned
    elif operation == "merge":
        model = PeftModel.from_pretrained(model, "lora").merge_and_unload()
model.save_pretrained("theirs")
Path("peer.seconds").write_text(str(time.monotonic() - started))
