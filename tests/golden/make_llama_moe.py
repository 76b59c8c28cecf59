"""Expected numbers of LLaMA-MoE v1 from its definition, written out here in float64; no model class is used.

Makes llama-moe/<case>/{config.json, model.safetensors, expected.safetensors, expected.json} beside this file:

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
    OMP_NUM_THREADS=2 python make_llama_moe.py [case ...]

transformers serves one check only: with one expert of weight 1 the definition must be its LlamaForCausalLM.
"""

import json
import math
import pathlib
import shutil
import sys

import torch
import torch.nn.functional as F
from reference import REQUIREMENTS, relative, stored_batch, versions
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

here = pathlib.Path(__file__).parent / "llama-moe"
MARGIN = 0.02

small = {
    "model_type": "llama_moe", "architectures": ["LlamaMoEForCausalLM"], "vocab_size": 48, "hidden_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 40,
    "num_experts": 4, "num_selects": 2, "size_experts": [[10] * 4] * 2, "score_scale_factor": 2.0,
    "gate_type": "TopKBalancedNoisyGate", "gate_network": "mlp", "gate_use_softmax": True, "gate_use_balance": True,
    "gate_balance_loss_weight": 0.05, "gate_add_noise": True, "gate_noise_epsilon": 0.01,
    "calculator_type": "UniversalCalculator", "multiply_gate_scores": True, "add_weight_norm": False,
    "drop_tokens": True, "dropped_padding": "zero", "capacity_factor": 1.25, "hidden_act": "silu",
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False,
    "tie_word_embeddings": False, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
CASES = {
    "top2": (1, small, False),
    "top2-padded": (2, small | {"num_key_value_heads": 2, "tie_word_embeddings": True}, True),
    "top1": (3, small | {"num_selects": 1, "score_scale_factor": 4.0}, False),
    "all-experts": (4, small | {"num_selects": 4, "score_scale_factor": 1.0}, False),
    "without-noise": (5, small | {"gate_add_noise": False}, False),
}  # fmt: skip


def draw_weights(c: dict, generator: torch.Generator) -> dict:
    """Weights whose every part matters: noise weights are not 0 and norms not 1."""
    hidden, experts = c["hidden_size"], c["num_experts"]
    head = hidden // c["num_attention_heads"]
    width = c["intermediate_size"] // experts
    matrix = lambda rows, columns, size=0.2: size * torch.randn(rows, columns, generator=generator)  # noqa: E731
    norm = lambda: 1 + 0.2 * torch.randn(hidden, generator=generator)  # noqa: E731
    weights = {"model.embed_tokens.weight": matrix(c["vocab_size"], hidden, 0.3), "model.norm.weight": norm()}
    if not c["tie_word_embeddings"]:
        weights["lm_head.weight"] = matrix(c["vocab_size"], hidden)
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        weights[p + "input_layernorm.weight"] = norm()
        weights[p + "post_attention_layernorm.weight"] = norm()
        weights[p + "self_attn.q_proj.weight"] = matrix(hidden, hidden)
        weights[p + "self_attn.k_proj.weight"] = matrix(c["num_key_value_heads"] * head, hidden)
        weights[p + "self_attn.v_proj.weight"] = matrix(c["num_key_value_heads"] * head, hidden)
        weights[p + "self_attn.o_proj.weight"] = matrix(hidden, hidden)
        gate = p + "mlp.gate."
        weights[gate + "gate_network.0.weight"] = matrix(experts, hidden)
        weights[gate + "gate_network.2.weight"] = matrix(experts, experts, 1.0)
        weights[gate + "weight_noise.weight"] = matrix(experts, hidden)
        for e in range(experts):
            expert = p + "mlp.calculator.experts."
            weights[expert + f"weight_gate.{e}"] = matrix(width, hidden)
            weights[expert + f"weight_up.{e}"] = matrix(width, hidden)
            weights[expert + f"weight_down.{e}"] = matrix(hidden, width)
    return weights


def rms_norm(c, x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + c["rms_norm_eps"]) * weight


def rotate(x, theta):
    """RoPE on [B, heads, T, D]: pairs (i, i + D/2) turned by t * theta^(-2i/D)."""
    length, size = x.shape[-2:]
    angle = torch.arange(length)[:, None] * (1.0 / theta ** (torch.arange(0, size, 2, dtype=x.dtype) / size))
    first, second = x.chunk(2, -1)
    return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], -1)


def attend(c, w, p, x):
    rows, length, hidden = x.shape
    heads, groups = c["num_attention_heads"], c["num_key_value_heads"]
    split = lambda y, n: y.view(rows, length, n, hidden // heads).transpose(1, 2)  # noqa: E731
    q = rotate(split(x @ w[p + "self_attn.q_proj.weight"].T, heads), c["rope_theta"])
    k = rotate(split(x @ w[p + "self_attn.k_proj.weight"].T, groups), c["rope_theta"])
    v = split(x @ w[p + "self_attn.v_proj.weight"].T, groups)
    k, v = (y.repeat_interleave(heads // groups, 1) for y in (k, v))
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(hidden // heads)
    scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, hidden) @ w[p + "self_attn.o_proj.weight"].T


def squared_variation(values):
    return values.var() / (values.mean() ** 2 + 1e-10) if len(values) > 1 else torch.zeros((), dtype=values.dtype)


def route(c, w, gate, x, noise, mask):
    """Scores [N, E], 0 where an expert is not selected, the layer's balance loss, and each token's gap to the next."""
    k, experts = c["num_selects"], c["num_experts"]
    clean = torch.tanh(x @ w[gate + "gate_network.0.weight"].T) @ w[gate + "gate_network.2.weight"].T
    training = noise is not None and c["gate_add_noise"]
    logits = clean
    if training:
        deviation = F.softplus(x @ w[gate + "weight_noise.weight"].T) + c["gate_noise_epsilon"]
        disturbance = noise * deviation
        logits = clean + disturbance
    falling, order = logits.sort(-1, descending=True)
    selected = order[:, :k]
    scores = torch.zeros_like(logits).scatter(1, selected, falling[:, :k].softmax(-1))
    importance = (scores * mask[:, None]).sum(0)
    gap = torch.full((len(x),), float("inf"), dtype=x.dtype)
    if k < experts:
        probabilities = falling.softmax(-1)
        gap = probabilities[:, k - 1] - probabilities[:, k]
    if training and k < experts:
        inside, outside = falling[:, k : k + 1], falling[:, k - 1 : k]
        # As upstream has it: the noise alone is compared, not the noisy logit.
        threshold = torch.where(disturbance > inside, inside, outside)
        gap = gap.minimum((disturbance - inside).abs().min(1).values)
        load = (torch.special.ndtr((clean - threshold) / deviation) * mask[:, None]).sum(0)
    else:
        load = ((scores > 0) * mask[:, None]).sum(0).double()
    return scores, squared_variation(importance) + squared_variation(load), gap


def forward(c, w, ids, noise, mask):
    """Logits [B, T, V], the sum of the layers' balance losses before their weight, and each row's smallest gap."""
    rows, length = ids.shape
    h = w["model.embed_tokens.weight"][ids]
    balance, gap = 0.0, torch.full((rows,), float("inf"), dtype=h.dtype)
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        h = h + attend(c, w, p, rms_norm(c, h, w[p + "input_layernorm.weight"]))
        x = rms_norm(c, h, w[p + "post_attention_layernorm.weight"]).view(rows * length, -1)
        own = None if noise is None else noise[layer]
        scores, loss, margin = route(c, w, p + "mlp.gate.", x, own, mask.view(-1))
        margin = margin.detach().view(rows, length).masked_fill(mask == 0, float("inf"))
        balance, gap = balance + loss, gap.minimum(margin.min(1).values)
        y = torch.zeros_like(x)
        for e in range(c["num_experts"]):
            at = p + "mlp.calculator.experts."
            inner = F.silu(x @ w[f"{at}weight_gate.{e}"].T) * (x @ w[f"{at}weight_up.{e}"].T)
            y = y + inner @ w[f"{at}weight_down.{e}"].T * (scores[:, e : e + 1] * c["score_scale_factor"])
        h = h + y.view(h.shape)
    h = rms_norm(c, h, w["model.norm.weight"])
    return h @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T, balance, gap


def results(c, weights, batch, noise):
    """Expected tensors and numbers in float64: evaluation's logits, then losses and gradients of training."""
    ids, labels, mask = batch["input_ids"], batch["labels"], batch["attention_mask"].double()
    logits, _, _ = forward(c, weights, ids, None, mask)
    tensors = {"logits": (logits * mask[..., None]).detach()}
    numbers = {}
    for kind in ("crossEntropy", "total"):
        # The row of the padding token receives no gradient from the input side, as padding_idx has it.
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
        table = leaves["model.embed_tokens.weight"]
        used = table.clone()
        used[c["pad_token_id"]] = used[c["pad_token_id"]].detach()
        head = leaves.get("lm_head.weight", table)
        tables = {"model.embed_tokens.weight": used, "lm_head.weight": head}
        trained, balance, _ = forward(c, leaves | tables, ids, noise, mask)
        loss = F.cross_entropy(trained[:, :-1].reshape(-1, c["vocab_size"]), labels[:, 1:].reshape(-1), ignore_index=-100)
        numbers[kind] = loss.item()
        if kind == "total":
            loss = loss + c["gate_balance_loss_weight"] * balance
            numbers |= {"total": loss.item(), "balance": balance.item()}
        loss.backward()
        for name, leaf in leaves.items():
            tensors[f"gradient.{kind}.{name}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return tensors, numbers


def draw_batch(c, generator, padded, rows=2):
    """Rows of 9 tokens, where padded every other one of 6."""
    ids = torch.randint(3, c["vocab_size"], (rows, 9), generator=generator)
    mask = torch.ones_like(ids)
    if padded:
        mask[1::2, 6:] = 0
    return {
        "input_ids": torch.where(mask == 1, ids, c["pad_token_id"]),
        "labels": torch.where(mask == 1, ids, -100),
        "attention_mask": mask,
    }


def check_against_llama(c, generator):
    """With one expert, whatever the gate says, the definition is transformers' Llama."""
    single = c | {"num_experts": 1, "num_selects": 1, "score_scale_factor": 1.0, "intermediate_size": 10}
    weights = draw_weights(single, generator)
    names = {"mlp.calculator.experts.weight_gate.0": "mlp.gate_proj.weight",
             "mlp.calculator.experts.weight_up.0": "mlp.up_proj.weight",
             "mlp.calculator.experts.weight_down.0": "mlp.down_proj.weight"}  # fmt: skip
    dense = {}
    for name, tensor in weights.items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        if ".mlp.gate." not in name:
            dense[name] = tensor
    keys = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "intermediate_size", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "pad_token_id")  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**{key: single[key] for key in keys}, attn_implementation="eager")).eval()
    model.load_state_dict(dense, strict=not c["tie_word_embeddings"])
    batch = draw_batch(single, generator, False)
    doubles = {name: tensor.double() for name, tensor in weights.items()}
    logits, balance, _ = forward(single, doubles, batch["input_ids"], None, torch.ones(2, 9).double())
    with torch.no_grad():
        expected = model(batch["input_ids"]).logits
    assert relative(expected, logits) < 1e-6 and float(balance) == 0


def make(case: str) -> None:
    first, c, padded = CASES[case]
    check_against_llama(c, torch.Generator().manual_seed(first))
    generator = torch.Generator().manual_seed(first)
    weights = draw_weights(c, generator)
    doubles = {name: tensor.double() for name, tensor in weights.items()}
    # Rows do not see one another: of many, two are taken that leave no router undecided, with and without noise.
    drawn = draw_batch(c, generator, padded, 1024)
    noise = torch.randn(c["num_hidden_layers"], 1024, 9, c["num_experts"], generator=generator)
    mask = drawn["attention_mask"].double()
    with torch.no_grad():
        _, _, gap = forward(c, doubles, drawn["input_ids"], None, mask)
        _, _, noisy = forward(c, doubles, drawn["input_ids"], noise.double().flatten(1, 2), mask)
    gaps = gap.minimum(noisy)
    rows = [next(row for row in range(parity, 1024, 2) if gaps[row] > MARGIN) for parity in (0, 1)]
    batch = {name: tensor[rows] for name, tensor in drawn.items()}
    noise, margin = noise[:, rows].flatten(1, 2), gaps[rows].min().item()
    tensors, numbers = results(c, doubles, batch, noise.double())
    if padded:
        unmasked = batch | {"attention_mask": torch.ones_like(batch["attention_mask"])}
        other = results(c, doubles, unmasked, noise.double())[1]["balance"]
        assert abs(other - numbers["balance"]) > 1e-3, "padding does not matter to the balance loss"
    folder = here / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    if not padded:
        del batch["attention_mask"]
    stored = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    save_file(stored | stored_batch("batch.0", batch) | {"noise": noise}, folder / "expected.safetensors")
    record = {
        "made": {"install": REQUIREMENTS, "command": f"OMP_NUM_THREADS=2 python make_llama_moe.py {case}", "seed": first,
                 "versions": versions()},
        "loss": numbers, "routerMargin": margin if math.isfinite(margin) else None,
    }  # fmt: skip
    (folder / "expected.json").write_text(json.dumps(record, indent=2) + "\n")
    for file in folder.iterdir():
        assert file.stat().st_size <= 2**20, f"{file} is larger than 1 MB"
    print(case, json.dumps(numbers), margin)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or CASES:
        make(wanted)
