"""Expected continuations and sampling probabilities, from transformers' generate and its logits processors.

Makes generate/FAMILY/{config.json, model.safetensors, expected.json} and generate/sampling.json beside this file:

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
    OMP_NUM_THREADS=2 python make_generate.py [FAMILY ...]
"""

import json
import pathlib
import shutil
import sys

import torch
import transformers
from reference import REQUIREMENTS, build, versions
from transformers import GenerationConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

disable_progress_bar()
set_verbosity_error()
here = pathlib.Path(__file__).parent / "generate"
NEW = 24
MARGIN = 0.002

body = {
    "vocab_size": 97, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": None, "pad_token_id": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}  # fmt: skip
experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
FAMILIES = {
    "llama": ("LlamaForCausalLM", {"intermediate_size": 40}),
    "mixtral": (
        "MixtralForCausalLM",
        {"intermediate_size": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    "olmoe": ("OlmoeForCausalLM", {"intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("Qwen2ForCausalLM", {"intermediate_size": 40}),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        experts | {"intermediate_size": 40, "shared_expert_intermediate_size": 24},
    ),
    "qwen3_moe": ("Qwen3MoeForCausalLM", experts | {"intermediate_size": 40, "head_dim": 12, "norm_topk_prob": True}),
}


def greedy(model, prompt: list[int], eos: int | None) -> tuple[list[int], float]:
    """The continuation, and the smallest distance between the best and the second best logit."""
    settings = GenerationConfig(do_sample=False, max_new_tokens=NEW, eos_token_id=eos, pad_token_id=0, use_cache=True)
    out = model.generate(
        torch.tensor([prompt]), generation_config=settings, output_logits=True, return_dict_in_generate=True
    )
    best = torch.stack(out.logits).topk(2).values
    return out.sequences[0, len(prompt) :].tolist(), (best[..., 0] - best[..., 1]).min().item()


def make(name: str) -> None:
    kind, fields = FAMILIES[name]
    for seed in range(1000):
        generator = torch.Generator().manual_seed(seed)
        model = build(body | fields, generator, getattr(transformers, kind))
        prompts = [torch.randint(2, 97, (length,), generator=generator).tolist() for length in (1, 6, 19)]
        found = [greedy(model, prompt, None) for prompt in prompts]
        if min(margin for _, margin in found) > MARGIN and all(len(set(tokens)) > 3 for tokens, _ in found):
            break
    else:
        raise RuntimeError(f"{name}: no seed has the margins")
    cases = [
        {"prompt": prompt, "eos": None, "tokens": tokens, "margin": margin}
        for prompt, (tokens, margin) in zip(prompts, found)
    ]
    eos = found[1][0][9]
    cases.append({"prompt": prompts[1], "eos": eos, "tokens": greedy(model, prompts[1], eos)[0]})
    folder = here / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    record = {"madeBy": "make_generate.py", "requirements": REQUIREMENTS, "versions": versions(), "seed": seed, "cases": cases}
    (folder / "expected.json").write_text(json.dumps(record) + "\n")
    print(name, "seed", seed, [case["tokens"][:6] for case in cases])


def sampling() -> None:
    """Probabilities after temperature, top-k and top-p, by the processors that generate() sets up itself."""
    generator = torch.Generator().manual_seed(5)
    logits = 3 * torch.randn(60, generator=generator)
    model = build(body | FAMILIES["llama"][1], generator, transformers.LlamaForCausalLM)
    cases = []
    for temperature in (0.3, 1.0, 1.7):
        for top_k in (0, 1, 2, 5, 1000):
            for top_p in (1.0, 0.95, 0.5, 0.05):
                settings = GenerationConfig(do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p)
                processors = model._get_logits_processor(generation_config=settings, input_ids_seq_length=1)
                scores = processors(torch.zeros(1, 1, dtype=torch.long), logits[None].double())
                probabilities = scores.softmax(-1)[0]
                kept = {str(i): p.item() for i, p in enumerate(probabilities) if p > 0}
                cases.append({"temperature": temperature, "topK": top_k, "topP": top_p, "probabilities": kept})
    record = {"madeBy": "make_generate.py", "requirements": REQUIREMENTS, "versions": versions()}
    record |= {"logits": logits.tolist(), "cases": cases}
    (here / "sampling.json").write_text(json.dumps(record) + "\n")


for family in sys.argv[1:] or FAMILIES:
    make(family)
sampling()
