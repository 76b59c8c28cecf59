"""Expected values of tests/corpus and tests/formats/token-store.test.ts.

  python tests/golden/corpus/make-corpus.py        (needs: pip install numpy==2.4.6 tokenizers==0.23.3)

- bpe-4096.json: ids of adversarial texts by the shipped tokenizer, special tokens read as text
- megatron.bin, megatron.idx: a token store written from the format's description alone, with documents of
  several sequences, one sequence and none; megatron.json says what it holds
"""

import json
import random
import struct
from pathlib import Path

import numpy
import tokenizers

here = Path(__file__).parent
root = here.parents[2]

texts = [
    "", " ", "  ", "\n", "\r\n", "\t\t x", "a", "Hello , world !", " the <unk> of it",
    "<|endoftext|>", "a<|endoftext|>b <|endoftext|>", "<|end", "= Title =\n\n text",
    "it's we'll I'M they'VE d'Artagnan ''quote''", "1234567890 3.14 1,000,000 \u00bd \u0664\u0662",
    "e\u0301 vs \u00e9", "\u0130stanbul \u0131 \u00df \ufb01", "\u4e2d\u6587\u5b57\u7b26 \u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8",
    "\ud55c\uad6d\uc5b4", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "a\u200bb\u00a0c\u3000d\u2028e\u2029f\u0085g", "\ufeffbom inside \ufeff", "\x01\x1f\x7f\x80", "\ufffd\ufffe\uffff",
    "\U0010ffff\U00010000", "Z\u0351\u036b\u0343a\u0322\u031b\u0356l\u0328\u0359g\u0334\u0321o\u0489",
    "x" * 3000, "\U0001f600" * 300, " " * 500 + "x" + "\n" * 77, "@-@ @,@ @.@ 17 @-@ match", "\ud7ff\ue000",
]
source = random.Random(7)
for length in (20, 200, 2000):
    points = []
    while len(points) < length:
        point = source.choice([source.randrange(0x20, 0x7F), source.randrange(0x250), source.randrange(0x110000)])
        if not 0xD800 <= point < 0xE000 and point != 0:
            points.append(chr(point))
    texts.append("".join(points))

tokenizer = tokenizers.Tokenizer.from_file(str(root / "data/tokenizer/bpe-4096.json"))
tokenizer.encode_special_tokens = True
cases = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in texts]
golden = {"madeBy": "make-corpus.py", "tokenizers": tokenizers.__version__, "cases": cases}
(here / "bpe-4096.json").write_text(json.dumps(golden) + "\n")

sequences = [[1, 2, 3], [70000 % 65536], [5, 6], [], [65534, 0, 7]]
documents = [[0], [1, 2], [], [3, 4]]
sizes = numpy.array([len(s) for s in sequences], dtype="<i4")
pointers = numpy.concatenate([[0], numpy.cumsum(sizes[:-1].astype("<i8") * 2)]).astype("<i8")
boundaries = numpy.array([0, 1, 3, 3, 5], dtype="<i8")
with open(here / "megatron.idx", "wb") as index:
    index.write(b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", 8))
    index.write(struct.pack("<Q", len(sequences)) + struct.pack("<Q", len(boundaries)))
    index.write(sizes.tobytes() + pointers.tobytes() + boundaries.tobytes())
numpy.array([t for s in sequences for t in s], dtype="<u2").tofile(here / "megatron.bin")
contents = [[t for s in document for t in sequences[s]] for document in documents]
(here / "megatron.json").write_text(json.dumps({"madeBy": "make-corpus.py", "documents": contents}) + "\n")
