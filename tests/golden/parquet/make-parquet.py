"""Parquet and Zstandard files of other programs, for the readers of the corpus.

    python -m venv environment && environment/bin/pip install pyarrow==26.0.1 zstandard==0.25.0
    environment/bin/python tests/golden/parquet/make-parquet.py

Writes the files beside itself and expected.json, which says with what they were made. Nothing is random.
"""

import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

HERE = pathlib.Path(__file__).parent
WORDS = "the of and in song album river lake Straße mountain 山 🙂 singer".split()


def text(i: int) -> str:
    return " ".join(WORDS[(i * 7 + j * (i % 5 + 1)) % len(WORDS)] for j in range(3 + i % 11)) + ("\r\nend" if i % 9 == 0 else "")


TEXTS = [text(i) for i in range(200)]
SOME = [None if i % 13 == 5 else value for i, value in enumerate(TEXTS)]


def write(name: str, table: pa.Table, **options) -> None:
    options = {"row_group_size": 64, "data_page_size": 512, "write_batch_size": 8, **options}
    pq.write_table(table, HERE / f"{name}.parquet", **options)


flat = pa.table({"id": list(range(200)), "text": SOME})
solid = pa.table([pa.array(TEXTS)], schema=pa.schema([pa.field("text", pa.string(), nullable=False)]))
write("snappy", flat, compression="snappy")
write("zstd-v2", flat, compression="zstd", data_page_version="2.0", use_dictionary=False)
write("gzip-checksum", flat, compression="gzip", write_page_checksum=True, use_dictionary=False)
write("brotli-index", flat, compression="brotli", write_page_index=True)
write("lz4-delta-length", solid, compression="lz4", use_dictionary=False, column_encoding={"text": "DELTA_LENGTH_BYTE_ARRAY"})
write("none-delta", solid, compression="none", use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})
write("zstd-dictionary", pa.table({"text": [TEXTS[i % 5] for i in range(200)]}), compression="zstd")
write(
    "nested",
    pa.table(
        {
            "meta": [None if i % 20 == 3 else {"body": value, "n": i} for i, value in enumerate(SOME)],
            "a.b": TEXTS,
            "lists": [[value] for value in TEXTS],
        }
    ),
)
write("binary", pa.table({"text": pa.array([b"fine", b"caf\xe9", b"also fine"], pa.binary())}))
write("no-rows", flat.slice(0, 0))

lines = "".join(json.dumps({"text": value}, ensure_ascii=False) + "\n" for value in TEXTS).encode()
with_checksum = zstandard.ZstdCompressor(level=19, write_checksum=True)
frames = with_checksum.compress(lines[:5000])
frames += b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"  # skippable
frames += zstandard.ZstdCompressor(level=1).compress(lines[5000:12000])
stream = with_checksum.compressobj()  # content size unknown
frames += stream.compress(lines[12000:]) + stream.flush()
frames += with_checksum.compress(b"")
(HERE / "frames.jsonl.zst").write_bytes(frames)

(HERE / "expected.json").write_text(
    json.dumps({"pyarrow": pa.__version__, "zstandard": zstandard.__version__, "texts": TEXTS, "some": SOME}, ensure_ascii=False)
)
