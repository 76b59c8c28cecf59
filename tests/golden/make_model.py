"""Expected numbers of the model, its losses, gradients and AdamW, from transformers' Qwen2MoeForCausalLM.

Makes model/<case>/{config.json, model.safetensors, expected.safetensors, expected.json} beside this file:

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
    OMP_NUM_THREADS=2 python make_model.py [case ...]
"""

import json
import pathlib
import shutil
import sys
import tempfile

import torch
from reference import (
    REQUIREMENTS,
    batch_with_margins,
    build,
    by_name,
    in_float64,
    relative,
    router_margin,
    stored_batch,
    versions,
)
from safetensors.torch import load_file, save_file
from transformers import Qwen2MoeForCausalLM
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
here = pathlib.Path(__file__).parent
ADAMW = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.3}
CLIP = 0.5
STEPS = 3

small = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "intermediate_size": 40, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24,
    "num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": False, "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "router_aux_loss_coef": 0.05,
    "output_router_logits": True, "bos_token_id": 1, "eos_token_id": 1, "sliding_window": None,
}  # fmt: skip
CASES = {
    "top2": (1, small, False),
    "top2-normalised": (2, small | {"norm_topk_prob": True, "rms_norm_eps": 1e-5}, True),
    "all-experts": (3, small | {"num_experts_per_tok": 4}, False),
    "one-expert": (4, small | {"num_experts": 1, "num_experts_per_tok": 1}, True),
    "gqa": (5, small | {"num_key_value_heads": 2, "head_dim": 12, "num_experts": 5, "vocab_size": 97,
                        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}, False),
    "tied": (6, small | {"tie_word_embeddings": True, "pad_token_id": 1, "qkv_bias": False,
                         "num_experts_per_tok": 1}, True),
    "dense-layers": (7, small | {"num_hidden_layers": 4, "decoder_sparse_step": 2, "mlp_only_layers": [1],
                                 "norm_topk_prob": True}, False),
}  # fmt: skip


def forward(model, batch, balance: bool):
    return model(**batch, output_router_logits=balance, use_cache=False)


def results(model, batch) -> tuple[dict, dict]:
    """Logits, both losses and both sets of gradients of one batch, as tensors and as numbers."""
    tensors, numbers = {}, {}
    for kind in ("crossEntropy", "total"):
        model.zero_grad()
        output = forward(model, batch, kind == "total")
        output.loss.backward()
        numbers[kind] = output.loss.item()
        gradients = by_name(model, lambda p: torch.zeros_like(p) if p.grad is None else p.grad)
        tensors |= {f"gradient.{kind}.{name}": tensor for name, tensor in gradients.items()}
    numbers["balance"] = output.aux_loss.item()
    logits = output.logits.detach().clone()
    if "attention_mask" in batch:
        logits[batch["attention_mask"] == 0] = 0
    return tensors | {"logits": logits}, numbers


def trained(model) -> list[torch.nn.Parameter]:
    """All parameters; with one expert all but the router, whose row takes no part in a submodel's training."""
    fixed = model.config.num_experts == 1
    return [p for name, p in model.named_parameters() if not (fixed and name.endswith(".mlp.gate.weight"))]


def step_gradients(model, batch, clip: bool) -> tuple[float, float]:
    """Gradients of the whole loss, clipped; returns the loss and the norm before clipping."""
    model.zero_grad()
    loss = forward(model, batch, True).loss
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trained(model), CLIP if clip else float("inf")).item()
    return loss.item(), norm


def adamw_by_torch(weights, config, batches) -> tuple[dict, list, list]:
    """The update of three steps of torch.optim.AdamW, their losses and norms."""
    model = copy_of(weights, config)
    before = by_name(model, lambda p: p)
    optimizer = torch.optim.AdamW(trained(model), **ADAMW)
    losses, norms = [], []
    for batch in batches:
        loss, norm = step_gradients(model, batch, True)
        optimizer.step()
        losses.append(loss)
        norms.append(norm)
    after = by_name(model, lambda p: p)
    return {name: (before[name], after[name]) for name in before}, losses, norms


def adamw_by_hand(weights, config, batches, *, decay=True, correction=True, clip=True, coupled=False) -> dict:
    """The same with one part left out or done wrongly, to show that the tests would notice."""
    model = copy_of(weights, config)
    before = by_name(model, lambda p: p)
    (beta1, beta2), lr, wd = ADAMW["betas"], ADAMW["lr"], ADAMW["weight_decay"] if decay else 0.0
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in trained(model)]
    for t, batch in enumerate(batches, 1):
        step_gradients(model, batch, clip)
        with torch.no_grad():
            for p, (m, v) in zip(trained(model), moments):
                gradient = p.grad + wd * p if coupled else p.grad
                if not coupled:
                    p.mul_(1 - lr * wd)
                m.mul_(beta1).add_(gradient, alpha=1 - beta1)
                v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                c1, c2 = (1 - beta1**t, 1 - beta2**t) if correction else (1.0, 1.0)
                p.sub_(lr * (m / c1) / ((v / c2).sqrt() + ADAMW["eps"]))
    after = by_name(model, lambda p: p)
    return {name: after[name] - before[name] for name in before}


def copy_of(weights, config) -> Qwen2MoeForCausalLM:
    model = Qwen2MoeForCausalLM(config).eval().to(next(iter(weights.values())).dtype)
    model.load_state_dict(weights)
    return model


class Unsuitable(Exception):
    """The weights drawn leave some expected number to rounding, or some mistake unnoticed."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise Unsuitable(message)


def make(case: str) -> None:
    """Takes the first seed whose weights are suitable."""
    first, fields, padded = CASES[case]
    for seed in range(first, first + 5000, 100):
        try:
            return make_with(case, seed, fields, padded)
        except Unsuitable as reason:
            print(f"{case}: seed {seed} passed over: {reason}", file=sys.stderr)
    raise RuntimeError(f"no suitable seed for {case}")


def make_with(case: str, seed: int, fields: dict, padded: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = build(fields, generator)
    config = model.config
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folder = here / "model" / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_weights(model, folder)

    # Batches are chosen along the trajectory, so that no router is undecided at any of the three steps; the
    # second has few targets, hence another gradient norm, so that clipping changes more than a common factor.
    walker = copy_of(weights, config)
    optimizer = torch.optim.AdamW(trained(walker), **ADAMW)
    batches, margins = [], []
    for step in range(STEPS):
        batches.append(batch_with_margins(walker, generator, (2 + step % 2, 18), padded, step == 1))
        margins.append(router_margin(walker, batches[-1]))
        step_gradients(walker, batches[-1], True)
        optimizer.step()

    tensors, numbers = results(copy_of(weights, config), batches[0])
    updates, losses, norms = adamw_by_torch(weights, config, batches)
    if padded and fields["num_experts"] > 1:
        unmasked = dict(batches[0])
        del unmasked["attention_mask"]
        other = forward(copy_of(weights, config), unmasked, True).aux_loss.item()
        require(abs(other - numbers["balance"]) > 1e-3, "padding does not matter to the balance loss")
    require(all(norm > 1.2 * CLIP for norm in norms), f"clipping is not active in every step: {norms}")
    check_zeros(tensors, config, idle_expert=case == "tied")

    wrong = {
        "noDecay": {"decay": False}, "noBiasCorrection": {"correction": False},
        "noClipping": {"clip": False}, "coupledDecay": {"coupled": True},
    }  # fmt: skip
    update = {name: after - before for name, (before, after) in updates.items()}
    own = adamw_by_hand(weights, config, batches)
    assert max(relative(own[name], update[name]) for name in update) < 1e-4, "the hand-written AdamW is not AdamW"
    undecayed = adamw_by_hand(weights, config, batches, decay=False)
    reached = [name for name in update if undecayed[name].norm() > 0]
    seen = {}
    for label, options in wrong.items():
        differs = adamw_by_hand(weights, config, batches, **options)
        seen[label] = min(relative(differs[name], update[name]) for name in reached)
        require(seen[label] > 1e-2, f"{label} would go unnoticed: {seen[label]}")

    errors = float32_errors(weights, config, batches, tensors, numbers, update)
    accurate = errors["logits"] < 2e-6 and errors["losses"] < 1e-6 and errors["gradients"] < 1e-5
    require(accurate and errors["updates"] < 1e-4, f"float32 is not accurate enough: {errors}")

    for step, batch in enumerate(batches):
        tensors |= stored_batch(f"batch.{step}", batch)
    tensors |= {f"after.{name}": after for name, (_, after) in updates.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "expected.safetensors")
    record = {
        "made": {
            "install": REQUIREMENTS, "command": f"OMP_NUM_THREADS=2 python make_model.py {case}",
            "seed": seed, "versions": versions(),
        },
        "loss": numbers,
        "adamw": {
            "learningRate": ADAMW["lr"], "beta1": ADAMW["betas"][0], "beta2": ADAMW["betas"][1],
            "epsilon": ADAMW["eps"], "weightDecay": ADAMW["weight_decay"], "clipNorm": CLIP,
            "losses": losses, "gradientNorms": norms,
        },
        "routerMargin": min(margins) if config.num_experts_per_tok < config.num_experts else None,
        "relativeErrorOfFloat32": errors,
        "smallestRelativeChangeOfUpdateWhenWrong": seen,
    }  # fmt: skip
    (folder / "expected.json").write_text(json.dumps(record, indent=2) + "\n")
    for file in folder.iterdir():
        assert file.stat().st_size <= 2**20, f"{file} is larger than 1 MB"
    print(case, json.dumps(record["loss"]), json.dumps(errors), json.dumps(seen), "norms", norms)


def save_weights(model, folder: pathlib.Path) -> None:
    """The folder as save_pretrained writes it, and a check that experts are apart in it."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(pathlib.Path(scratch) / name, folder / name)
    expected = by_name(model, lambda p: p)
    saved = load_file(folder / "model.safetensors")
    assert saved.keys() == expected.keys(), saved.keys() ^ expected.keys()
    assert all(torch.equal(saved[name], expected[name]) for name in saved)
    experts = [name for name in saved if ".experts." in name]
    assert experts and all(name.split(".experts.")[1][0].isdigit() for name in experts)


def check_zeros(tensors: dict, config, idle_expert: bool) -> None:
    """Whole gradients that are exactly 0: the router's where there is one expert, an idle expert's where wanted."""
    zero = {n for n, t in tensors.items() if n.startswith("gradient.") and torch.count_nonzero(t).item() == 0}
    routers = {n for n in tensors if n.startswith("gradient.") and n.endswith(".mlp.gate.weight")}
    require(zero & routers == (routers if config.num_experts == 1 else set()), "a router's gradient is or is not 0")
    experts = {n for n in zero if ".mlp.experts." in n}
    require(bool(experts) == idle_expert, "an expert has or has no tokens")
    assert zero <= routers | experts, zero


def float32_errors(weights, config, batches, tensors, numbers, update) -> dict:
    """Largest relative error of the expected numbers, against the same in float64."""
    doubles = {name: tensor.double() for name, tensor in weights.items()}
    with in_float64():
        exact, exact_numbers = results(copy_of(doubles, config), batches[0])
        exact_updates, _, _ = adamw_by_torch(doubles, config, batches)
    worst = lambda prefix: max(relative(tensors[n], exact[n]) for n in tensors if n.startswith(prefix))  # noqa: E731
    return {
        "logits": worst("logits"),
        "losses": max(abs(numbers[n] / exact_numbers[n] - 1) for n in numbers),
        "gradients": worst("gradient."),
        "updates": max(relative(update[n], after - before) for n, (before, after) in exact_updates.items()),
    }


if __name__ == "__main__":
    for wanted in sys.argv[1:] or CASES:
        make(wanted)
