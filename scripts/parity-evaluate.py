"""The Python half of parity-evaluate.mjs: data sets in the Hub's row form, a SentencePiece-style tokenizer,
lm-evaluation-harness on a model folder, and the comparison.

    parity-evaluate.py tokenizer TEXT OUT.json
    parity-evaluate.py data SHIPPED WIKITEXT INTO
    parity-evaluate.py harness MODEL DATA TASKS LIMIT OUT.json [BATCH]
    parity-evaluate.py compare OURS HARNESS.json
    parity-evaluate.py golden HARNESS.json DATA OUT.json
"""
import gzip
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

TOLERANCE = 1e-4


def rows_of(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make_data(shipped, wikitext, into):
    """The sets as the Hub has them: a folder each, a file each split."""
    shipped, into = Path(shipped), Path(into)
    for split in ("train", "test"):
        rows = [row for row in rows_of(shipped / "arc_easy.jsonl.gz") if row["split"] == split]
        write_rows(
            into / "arc_easy" / f"{split}.jsonl",
            [
                {
                    "id": row["id"],
                    "question": row["question"]["stem"],
                    "choices": {
                        "text": [choice["text"] for choice in row["question"]["choices"]],
                        "label": [choice["label"] for choice in row["question"]["choices"]],
                    },
                    "answerKey": row["answerKey"],
                }
                for row in rows
            ],
        )
    # Examples come from the training split, which is not shipped: the last rows stand in for it. Row 1 stands in
    # both, so that a question meets itself among its examples.
    piqa = [{key: row[key] for key in ("goal", "sol1", "sol2", "label")} for row in rows_of(shipped / "piqa.jsonl.gz")]
    write_rows(into / "piqa" / "validation.jsonl", piqa[:1000])
    write_rows(into / "piqa" / "train.jsonl", [piqa[1], *piqa[1800:1805], piqa[1]])
    ready = rows_of(shipped / "hellaswag.jsonl.gz")
    original = []
    for row in ready:
        label, _, context = row["query"].partition(": ")
        head, _, tail = context.rpartition(" ")
        # Upper-case letters in ctx_b show that the harness lower-cases all but its first.
        original.append(
            {
                "ind": row["ind"],
                "activity_label": label,
                "ctx_a": head + " [title] A note [substeps]",
                "ctx_b": tail.upper(),
                "ctx": context,
                "endings": row["choices"],
                "label": str(row["gold"]),
            }
        )
    write_rows(into / "hellaswag" / "validation.jsonl", original[:900])
    write_rows(into / "hellaswag" / "train.jsonl", original[900:])
    for row in rows_of(shipped / "mmlu.jsonl.gz"):
        path = into / "mmlu" / row["subject"] / f"{row['split']}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: row[key] for key in ("question", "subject", "choices", "answer")}) + "\n")
    with gzip.open(wikitext, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    pages, paragraphs = [], []
    for line in lines:
        if line.startswith(" = ") and not line.startswith(" = = "):
            pages.append("")
        if pages:
            pages[-1] += line + "\n"
        if len(line) > 200:
            paragraphs.append(line.strip())
    write_rows(into / "wikitext" / "test.jsonl", [{"page": page[:3000]} for page in pages[:40]])
    write_rows(into / "lambada_openai" / "test.jsonl", [{"text": text[:180].rsplit(" ", 1)[0]} for text in paragraphs[:60]])


def make_tokenizer(text, out):
    """BPE as Llama's: blanks as U+2581, one before the text, bytes for what is unknown, a begin token in front."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=specials + [f"<0x{byte:02X}>" for byte in range(256)],
        show_progress=False,
    )
    # Words are learnt one by one; in use nothing is cut, as in Llama's.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    with open(text, encoding="utf-8") as file:
        tokenizer.train_from_iterator(file, trainer)
    made = json.loads(tokenizer.to_str())
    made["pre_tokenizer"] = None
    made["added_tokens"] = [token for token in made["added_tokens"] if token["content"] in specials]
    tokenizer = Tokenizer.from_str(json.dumps(made))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.save(out)


def task_files(data, folder):
    """The harness's own task files, with nothing changed but where the rows come from."""
    import lm_eval
    import yaml

    tasks = Path(lm_eval.__file__).parent / "tasks"
    own = {
        "arc_easy": ("arc/arc_easy.yaml", "arc_easy", ("train", "test")),
        "piqa": ("piqa/piqa.yaml", "piqa", ("train", "validation")),
        "hellaswag": ("hellaswag/hellaswag.yaml", "hellaswag", ("train", "validation")),
        "lambada_openai": ("lambada/lambada_openai.yaml", "lambada_openai", ("test",)),
        "wikitext": ("wikitext/wikitext.yaml", "wikitext", ("test",)),
    }
    for path in sorted((tasks / "mmlu" / "default").glob("mmlu_*.yaml")):
        subject = path.stem[len("mmlu_") :]
        own[path.stem] = (f"mmlu/default/{path.name}", f"mmlu/{subject}", ("dev", "test"))
    for name, (file, rows, splits) in own.items():
        changed = {
            "include": str(tasks / file),
            "task": name,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {split: str(Path(data) / rows / f"{split}.jsonl") for split in splits}},
        }
        if name == "wikitext":
            changed |= {"training_split": None, "validation_split": None}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(changed))
    for path in sorted((tasks / "mmlu" / "default").glob("_mmlu*.yaml")):
        (folder / path.name[1:]).write_text(path.read_text())


def run_harness(model, data, tasks, limit, out, batch=16):
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", LOGLEVEL="ERROR")
    cache = tempfile.mkdtemp()
    os.environ["HF_DATASETS_CACHE"] = cache
    import lm_eval
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    folder = Path(tempfile.mkdtemp())
    task_files(data, folder)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=batch)
    found = {"results": {}, "samples": {}, "versions": {}, "seconds": {}}
    for entry in tasks.split(","):
        name, _, shots = entry.partition(":")
        began = time.perf_counter()
        results = lm_eval.simple_evaluate(
            lm, tasks=[name], num_fewshot=int(shots or 0), limit=limit, task_manager=manager, verbosity="ERROR"
        )
        found["seconds"][entry] = time.perf_counter() - began
        found["results"] |= results["results"]
        found["versions"] |= results["versions"]
        for task, samples in results["samples"].items():
            found["samples"][task] = [
                {
                    "document": sample["doc_id"],
                    # A rolling log-likelihood is a number, others come with whether they are the greedy choice.
                    "scores": [
                        answer if isinstance(answer, (list, tuple)) else [answer, False]
                        for answer in sample["filtered_resps"]
                    ],
                    "arguments": [list(argument)[:2] for argument in sample["arguments"]],
                }
                for sample in samples
            ]
    found["made"] = {
        "lm_eval": lm_eval.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "command": "parity-evaluate.py " + " ".join(["harness", "MODEL", "DATA", tasks, str(limit)]),
    }
    Path(out).write_text(json.dumps(found))


def close(a, b, tolerance):
    return abs(a - b) <= tolerance * max(1e-9, abs(b))


def compare(ours, harness):
    ours, theirs = Path(ours), json.loads(Path(harness).read_text())
    worst, count, failures, ties = 0.0, 0, [], []
    for task, samples in theirs["samples"].items():
        own = json.loads((ours / f"{task}.json").read_text())
        if len(own["samples"]) != len(samples):
            failures.append(f"{task}: {len(own['samples'])} questions, the harness has {len(samples)}")
            continue
        for mine, other in zip(own["samples"], samples, strict=True):
            a = [score["logLikelihood"] for score in mine["scores"]]
            b = [float(score[0]) for score in other["scores"]]
            place = f"{task}, question {other['document']}"
            if mine["document"] != other["document"] or len(a) != len(b):
                failures.append(f"{place}: another question, or {len(a)} answers for {len(b)}")
                continue
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                count += 1
                worst = max(worst, abs(x - y) / max(1e-9, abs(y)))
                if not close(x, y, TOLERANCE):
                    failures.append(f"{place}, answer {i}: {x} here, {y} there")
                if task != "wikitext" and mine["scores"][i]["greedy"] != (str(other["scores"][i][1]) == "True"):
                    failures.append(f"{place}, answer {i}: greedy {mine['scores'][i]['greedy']} here only or there only")
            if a.index(max(a)) != b.index(max(b)):
                first, second = sorted(b, reverse=True)[:2]
                if first - second < 2 * TOLERANCE * abs(first):
                    ties.append(f"{place}: answers {a.index(max(a))} and {b.index(max(b))}, {first} and {second}")
                else:
                    failures.append(f"{place}: picks {a.index(max(a))}, the harness {b.index(max(b))}")
    mine = json.loads((ours / "results.json").read_text())
    compared = 0
    for task, entry in theirs["results"].items():
        for key, value in entry.items():
            if "," not in key:
                continue
            found = mine["results"].get(task, {}).get(key)
            exact = key.startswith("acc") and not ties
            compared += 1
            if value == "N/A" or found is None or found == "N/A":
                if found != value:
                    failures.append(f"{task} {key}: {found} here, {value} there")
            elif not math.isclose(found, value, rel_tol=1e-12 if exact else 2e-3 if "stderr" in key else TOLERANCE, abs_tol=1e-15):
                failures.append(f"{task} {key}: {found} here, {value} there")
    for task, version in theirs["versions"].items():
        if float(mine["versions"].get(task, -1)) != float(version):
            failures.append(f"{task}: version {mine['versions'].get(task)} here, {version} there")
    for tie in ties:
        print(f"  near tie, either pick is right: {tie}")
    print(f"  {count} log-likelihoods, largest relative difference {worst:.1e}; {compared} results compared, {len(ties)} near ties")
    for failure in failures[:40]:
        print(f"  DIFFERS {failure}")
    if failures:
        sys.exit(f"{len(failures)} differences")


def make_golden(harness, data, out):
    """What the ordinary tests need of a run: every score, the first prompt of each task, and rows that are not shipped."""
    found, data = json.loads(Path(harness).read_text()), Path(data)
    rows = {}
    for name in ("piqa", "hellaswag", "lambada_openai", "wikitext"):
        for path in sorted((data / name).glob("*.jsonl")):
            lines = path.read_text(encoding="utf-8").splitlines()
            keep = 3 if path.stem in ("validation",) or name == "wikitext" else len(lines)
            if (name, path.stem) != ("hellaswag", "train"):
                rows.setdefault(name, {})[path.stem] = [json.loads(line) for line in lines[:keep]]
    golden = {
        "made": found["made"],
        "rows": rows,
        "results": found["results"],
        "prompts": {task: samples[0]["arguments"] for task, samples in found["samples"].items()},
        "scores": {
            task: [[[float(value), str(greedy) == "True"] for value, greedy in sample["scores"]] for sample in samples]
            for task, samples in found["samples"].items()
        },
    }
    Path(out).write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    command, *arguments = sys.argv[1:]
    if command == "tokenizer":
        make_tokenizer(*arguments)
    elif command == "data":
        make_data(*arguments)
    elif command == "harness":
        model, data, tasks, limit, out, *rest = arguments
        run_harness(model, data, tasks, int(limit), out, *(int(one) for one in rest))
    elif command == "golden":
        make_golden(*arguments)
    elif command == "compare":
        compare(*arguments)
    else:
        sys.exit(f"unknown command {command}")


if __name__ == "__main__":
    main()
