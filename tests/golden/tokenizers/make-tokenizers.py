"""Genuine tokenizers, packed, and what programs other than Hugging Face's library make of adversarial texts.

  python tests/golden/tokenizers/make-tokenizers.py FOLDER      (needs: pip install tiktoken==0.14.0 sentencepiece==0.2.3)

FOLDER holds qwen/qwen.tiktoken, llama-2/tokenizer.json, llama-2/tokenizer.model, gpt2/vocab.json, gpt2/merges.txt and
vectors/ (of llama.cpp). Written beside this file:

- qwen.tokens.gz: one byte of length for every rank, then the tokens' bytes; the other tokenizers as they are, gzipped
- adversarial.json.gz: texts (UTF-16 code units may be lone surrogates; other programs get U+FFFD for them) and their
  ids: GPT-2 and Qwen by tiktoken, from the ranks alone, Llama-2 by sentencepiece from tokenizer.model. Special tokens
  in the texts are text.
"""

import base64
import gzip
import json
import random
import shutil
import sys
import unicodedata
from pathlib import Path

import sentencepiece
import tiktoken

here = Path(__file__).parent
source = Path(sys.argv[1])


def pack(name: str, data: bytes) -> None:
    (here / name).write_bytes(gzip.compress(data, 9, mtime=0))


ranks = [base64.b64decode(line.split()[0]) for line in (source / "qwen/qwen.tiktoken").read_bytes().splitlines()]
pack("qwen.tokens.gz", bytes(len(token) for token in ranks) + b"".join(ranks))
pack("llama-2.json.gz", (source / "llama-2/tokenizer.json").read_bytes())
pack("gpt2-vocab.json.gz", (source / "gpt2/vocab.json").read_bytes())
pack("gpt2-merges.txt.gz", (source / "gpt2/merges.txt").read_bytes())
for name in ["gpt-2", "qwen2", "llama-spm"]:
    shutil.copyfile(source / f"vectors/ggml-vocab-{name}.gguf.out", here / f"vectors-{name}.txt")
shutil.copyfile(source / "vectors/ggml-vocab-qwen2.gguf.inp", here / "vectors.txt")

texts = [
    "", " ", "  ", "\n", "\r\n", "\t\t x", "a", " a", "a ", "  a  b   c\n\n\n d", "= Title =\n\n text",
    # special tokens are text
    "the <unk> of it", "<|endoftext|>", "a<|endoftext|>b <|endoftext|>", "<|im_start|>user\nHi<|im_end|>", "</s><s>", "<s>",
    "<|end", "[INST] <<SYS>> [/INST]", "<0x0A><0x41>", "\u2581a \u2581 b", "<|extra_0|>",
    # contractions, numbers
    "it's we'll I'M they'VE d'Artagnan ''quote'' \u2019s", "IT'S 'S'll'LL'\u017f", "1234567890 3.14 1,000,000 \u00bd \u0664\u0662 \u2167",
    # normalization forms: composed, decomposed, compatibility, Hangul, reordering marks
    "e\u0301 \u00e9 \u1e9b\u0323 \u212b \u0041\u030a", "\ud55c\uad6d \u1112\u1161\u11ab\u1100\u116e\u11a8", "a\u0323\u0307 a\u0307\u0323",
    "\u0958 \u2126 \ufb01 \ufb1d \uf900 \u1f71", "Z\u0351\u036b\u0343a\u0322\u031b\u0356l\u0328\u0359g\u0334\u0321o\u0489",
    "e" + "\u0301" * 300, "\u0301", " \u0301x", "\u0130stanbul \u0131 \u00df \u1e9e \u01c5",
    # scripts, joiners, directions
    "\u4e2d\u6587\u5b57\u7b26 \u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea \u202ertl\u202c",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u200d\u0937 \u0ba8\u0bbf", "\u0e44\u0e17\u0e22 \u0e01\u0e4d\u0e32",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea\U0001f1e9 \U0001f44d\U0001f3fd \u2764\ufe0f \U0001f3f4\U000e0067\U000e0062\U000e007f",
    # invisible and control characters, all kinds of space
    "a\u200bb\u200cc\u200dd\u2060e\u00adf", "a\u00a0b\u3000c\u2028d\u2029e\u0085f\u1680g\u180eh\u202fi\u205fj\u2003k",
    "\ufeffbom inside \ufeff", "".join(map(chr, range(1, 32))), "\x00 nul \x00\x00", "\x7f\x80\x9f", "\r \r\r\n\n\r", "\x0b\x0c\x1c\x1d\x1e\x1f x",
    # the ends of ranges, private use, noncharacters, beyond the first plane
    "\ufffd\ufffe\uffff", "\U0010ffff\U00010000", "\ud7ff\ue000", "\U0001d400\U0001d7d8 \U00020000\U0002f800 \U000e0001", "\u07ff\u0800",
    # long runs
    "x" * 3000, " " * 3000, "\n" * 1000, "9" * 1000, "\U0001f600" * 300, "\u00e9" * 1000, "ab" * 1500, "!?" * 1000,
    " " * 500 + "x" + "\n" * 77, "a" * 200 + "\u0301" + "b" * 200, "\t \t " * 200,
]
for surrogate in ["\ud800", "\udfff", "a\ud83d", "\ude00b", "\ud83d\ud83d\ude00", "x\udc00\ud800y \udbff"]:
    texts.append(surrogate)
generator = random.Random(11)
planes = [(0x20, 0x7F), (0x20, 0x7F), (0, 0x250), (0x300, 0x370), (0x2000, 0x2070), (0x600, 0x1200), (0x3000, 0xA000), (0x1F300, 0x1FA00), (0, 0x110000)]
for length in [30] * 30 + [300] * 10 + [3000] * 2:
    low, high = generator.choice(planes)
    points = []
    while len(points) < length:
        if generator.random() < 0.2:
            low, high = generator.choice(planes)
        points.append(" " if generator.random() < 0.1 else chr(generator.randrange(low, high)))
    texts.append("".join(points))


def well_formed(text: str) -> str:
    """Pairs of surrogates joined, lone ones replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def unassigned_here(text: str) -> bool:
    return any(unicodedata.category(character) == "Cn" for character in text)


qwen_pattern = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
gpt2_pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
alphabet = [*range(33, 127), *range(161, 173), *range(174, 256)]
alphabet += [byte for byte in range(256) if byte not in alphabet]
byte_of = {chr(byte if index < 188 else 256 + index - 188): byte for index, byte in enumerate(alphabet)}
gpt2_vocab = json.loads((source / "gpt2/vocab.json").read_text("utf-8"))
gpt2_ranks = {
    bytes(byte_of[letter] for letter in token): rank for token, rank in gpt2_vocab.items() if token != "<|endoftext|>"
}
gpt2 = tiktoken.Encoding("gpt2", pat_str=gpt2_pattern, mergeable_ranks=gpt2_ranks, special_tokens={})
qwen = tiktoken.Encoding(
    "qwen", pat_str=qwen_pattern, mergeable_ranks={token: rank for rank, token in enumerate(ranks)}, special_tokens={}
)
llama = sentencepiece.SentencePieceProcessor(model_file=str(source / "llama-2/tokenizer.model"))

cases = []
for text in texts:
    if unassigned_here(well_formed(text)):
        # What is a letter depends on the Unicode version of the program.
        text = "".join(character for character in text if unicodedata.category(character) != "Cn")
    plain = well_formed(text)
    cases.append(
        {
            "text": text,
            "gpt2": gpt2.encode_ordinary(plain),
            "qwen": qwen.encode_ordinary(unicodedata.normalize("NFC", plain)),
            "llama2": llama.encode(plain),
        }
    )
golden = {
    "madeBy": "make-tokenizers.py",
    "tiktoken": tiktoken.__version__,
    "sentencepiece": sentencepiece.__version__,
    "unicode": unicodedata.unidata_version,
    "cases": cases,
}
pack("adversarial.json.gz", json.dumps(golden).encode())
print(len(cases), "cases")
