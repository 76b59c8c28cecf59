"""Expected numbers of every family that transformers has: logits, losses, gradients, and how far its bfloat16 is off.

Makes families/<case>/{config.json, model.safetensors, expected.safetensors, expected.json} beside this file:

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
    OMP_NUM_THREADS=2 python make_families.py [case ...]
"""

import json
import math
import pathlib
import shutil
import sys
import tempfile

import torch
from reference import (
    REQUIREMENTS,
    build,
    by_name,
    draw_batch,
    in_float64,
    relative,
    stored_batch,
    versions,
)
from safetensors.torch import load_file, save_file
from transformers import (
    LlamaForCausalLM,
    MixtralForCausalLM,
    OlmoeForCausalLM,
    Qwen2ForCausalLM,
    Qwen3MoeForCausalLM,
)
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
here = pathlib.Path(__file__).parent / "families"
# Wide enough that bfloat16 chooses the same experts.
MARGIN = 0.03

body = {
    "vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 20, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None,
}  # fmt: skip
router = {"num_experts_per_tok": 2, "output_router_logits": True, "router_aux_loss_coef": 0.05}
mixtral = body | router | {"num_local_experts": 4}
olmoe = body | router | {"num_experts": 4}
qwen3 = olmoe | {"moe_intermediate_size": 12, "head_dim": 12}
rope = lambda theta, **more: {"rope_parameters": {"rope_type": "default", "rope_theta": theta} | more}  # noqa: E731
llama3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0,
          "original_max_position_embeddings": 24}  # fmt: skip

CASES = {
    "mixtral": (1, MixtralForCausalLM, mixtral | rope(1e6) | {"head_dim": 12}, True),
    "mixtral-all-experts": (2, MixtralForCausalLM, mixtral | {"num_local_experts": 3, "num_experts_per_tok": 3}, False),
    "mixtral-tied": (3, MixtralForCausalLM, mixtral | {"num_local_experts": 4, "tie_word_embeddings": True}, False),
    "olmoe": (4, OlmoeForCausalLM, olmoe | {"clip_qkv": 0.8, "attention_bias": True}, False),
    "olmoe-normalised": (5, OlmoeForCausalLM, olmoe | {"norm_topk_prob": True, "pad_token_id": 3, "num_key_value_heads": 4,
                                                      "tie_word_embeddings": True}, True),
    "olmoe-all-experts": (6, OlmoeForCausalLM, olmoe | {"num_experts_per_tok": 4}, False),
    "qwen3-moe": (7, Qwen3MoeForCausalLM, qwen3 | {"norm_topk_prob": True}, True),
    "qwen3-moe-dense-layer": (8, Qwen3MoeForCausalLM, qwen3 | {"mlp_only_layers": [0], "attention_bias": True}, False),
    "qwen3-moe-all-experts": (9, Qwen3MoeForCausalLM, qwen3 | {"num_experts_per_tok": 4, "tie_word_embeddings": True}, False),
    "qwen2": (10, Qwen2ForCausalLM, body | rope(1e6), True),
    "qwen2-tied": (11, Qwen2ForCausalLM, body | {"tie_word_embeddings": True, "head_dim": 10}, False),
    "llama": (12, LlamaForCausalLM, body | {"attention_bias": True, "rms_norm_eps": 1e-5}, True),
    "llama3": (13, LlamaForCausalLM, body | rope(500.0, **llama3) | {"tie_word_embeddings": True, "head_dim": 16}, False),
}  # fmt: skip


def results(model, batch) -> tuple[dict, dict]:
    """Logits, both losses and both sets of gradients, as tensors and as numbers."""
    tensors, numbers = {}, {}
    balances = "num_experts_per_tok" in vars(model.config)
    for kind in ("crossEntropy", "total") if balances else ("crossEntropy",):
        model.zero_grad()
        options = {"output_router_logits": kind == "total"} if balances else {}
        output = model(**batch, use_cache=False, **options)
        output.loss.backward()
        numbers[kind] = output.loss.item()
        if kind == "total":
            numbers["balance"] = output.aux_loss.item()
        gradients = by_name(model, lambda p: torch.zeros_like(p) if p.grad is None else p.grad)
        tensors |= {f"gradient.{kind}.{name}": tensor for name, tensor in gradients.items()}
    logits = output.logits.detach().clone()
    if "attention_mask" in batch:
        logits[batch["attention_mask"] == 0] = 0
    return tensors | {"logits": logits}, numbers


def rows_with_margins(model, generator, padded: bool) -> dict:
    """Two rows, of 9 and (padded) 6 tokens, of many drawn at once, that leave no router undecided."""
    drawn = draw_batch(model.config, generator, (1024, 9), padded, False)
    margins = row_margins(model, drawn)
    rows = [next(row for row in range(first, 1024, 4) if margins[row] > MARGIN) for first in (0, 1)]
    return {name: tensor[rows] for name, tensor in drawn.items()}


def row_margins(model, batch: dict) -> torch.Tensor:
    """For every row the smallest distance between the k-th and the next probability; rows do not see one another."""
    rows, length = batch["input_ids"].shape
    k = getattr(model.config, "num_experts_per_tok", 1)
    margins = torch.full((rows, length), float("inf"))
    if "num_experts_per_tok" in vars(model.config):
        with torch.no_grad():
            layers = model(**batch, output_router_logits=True).router_logits
        for logits in layers:
            best = logits.softmax(-1).sort(-1, descending=True).values
            if k < best.shape[1]:
                margins = margins.minimum((best[:, k - 1] - best[:, k]).view(rows, length))
    if "attention_mask" in batch:
        margins[batch["attention_mask"] == 0] = float("inf")
    return margins.min(1).values


def copy_of(model, dtype):
    """The same model in another type."""
    other = type(model)(model.config).eval().to(dtype)
    other.load_state_dict(model.state_dict())
    return other


def make(case: str) -> None:
    seed, family, fields, padded = CASES[case]
    generator = torch.Generator().manual_seed(seed)
    model = build(fields, generator, family)
    batch = rows_with_margins(model, generator, padded)
    tensors, numbers = results(model, batch)

    with in_float64(family):
        exact, exact_numbers = results(copy_of(model, torch.float64), batch)
    worst = lambda actual, prefix: max(relative(actual[n], exact[n]) for n in exact if n.startswith(prefix))  # noqa: E731
    float32 = {
        "logits": worst(tensors, "logits"),
        "losses": max(abs(numbers[n] / exact_numbers[n] - 1) for n in numbers),
        "gradients": worst(tensors, "gradient."),
    }
    assert float32["logits"] < 2e-6 and float32["losses"] < 1e-6 and float32["gradients"] < 1e-5, float32
    half, half_numbers = results(copy_of(model, torch.bfloat16), batch)
    joined = lambda given: torch.cat([given[n].double().flatten() for n in exact if n.startswith("gradient.")])  # noqa: E731
    bfloat16 = {
        "logits": relative(half["logits"], tensors["logits"]),
        "losses": max(abs(half_numbers[n] / numbers[n] - 1) for n in numbers),
        "gradients": relative(joined(half), joined(tensors)),
    }

    margin = row_margins(model, batch).min().item()
    folder = here / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(pathlib.Path(scratch) / name, folder / name)
    saved, expected = load_file(folder / "model.safetensors"), by_name(model, lambda p: p)
    assert saved.keys() == expected.keys(), saved.keys() ^ expected.keys()
    assert all(torch.equal(saved[name], expected[name]) for name in saved)

    save_file(tensors | stored_batch("batch.0", batch), folder / "expected.safetensors")
    record = {
        "made": {"install": REQUIREMENTS, "command": f"OMP_NUM_THREADS=2 python make_families.py {case}", "seed": seed,
                 "versions": versions()},
        "loss": numbers,
        "routerMargin": margin if math.isfinite(margin) else None,
        "relativeErrorOfFloat32": float32,
        "relativeErrorOfBfloat16": bfloat16,
    }  # fmt: skip
    (folder / "expected.json").write_text(json.dumps(record, indent=2) + "\n")
    for file in folder.iterdir():
        assert file.stat().st_size <= 2**20, f"{file} is larger than 1 MB"
    print(case, json.dumps(numbers), json.dumps(float32), json.dumps(bfloat16))


if __name__ == "__main__":
    for wanted in sys.argv[1:] or CASES:
        make(wanted)
