"""Expected initial weights, by an implementation of its own in plain Python integers and floats.

Makes init/values.json beside this file; the standard library is enough:

    python make_init.py

Element i of a tensor named `name` in a run of seed `seed`:
key = first 8 bytes of SHA-256 of "<seed> NUL <name>", two little-endian words; counter = (b, b >> 32, 0, 0) with
b = i // 2; Philox4x32-10; w0, w1 = words 2 (i mod 2) and 2 (i mod 2) + 1; 52 bits = w1 2^20 + w0 >> 12;
p = (bits + 1/2) 2^-52; z = PPND16(p), Wichura's AS 241; value = float32(mean + deviation z), bfloat16 from that.
Python rounds after every operation, and never fuses a product with a sum.
"""

import hashlib
import json
import math
import pathlib
import platform
import statistics
import struct

here = pathlib.Path(__file__).parent
WORD = 0xFFFFFFFF
VALUES_EACH = 125
STREAMS = [
    (0, "model.embed_tokens.weight"),
    (0, "lm_head.weight"),
    (0, "model.layers.0.mlp.gate.weight"),
    (1, "model.layers.0.mlp.gate.weight"),
    (42, "model.layers.3.mlp.experts.0.gate_proj.weight"),
    (42, "model.layers.3.mlp.experts.1.gate_proj.weight"),
    (2**31, "model.layers.23.self_attn.q_proj.weight"),
    (2**53 - 1, "model.layers.0.mlp.shared_expert.down_proj.weight"),
]
DEVIATION = 0.02


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 of Salmon, Moraes, Dror and Shaw."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & WORD, (first >> 32) ^ c3 ^ k1, first & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


def logarithm(p: float) -> float:
    """The natural logarithm by a polynomial: log m = 2 artanh((m - 1) / (m + 1)), m in [sqrt(1/2), sqrt(2))."""
    m, e = math.frexp(p)
    if m < math.sqrt(0.5):
        m, e = m * 2, e - 1
    s = (m - 1) / (m + 1)
    t = s * s
    total = 1 / 25
    for odd in range(23, 0, -2):
        total = 1 / odd + t * total
    return e * 0.69314718055994530942 + 2 * s * total


def horner(x: float, coefficients: list[float]) -> float:
    """coefficients[0] + x (coefficients[1] + x (...))."""
    total = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


CENTRAL = (
    [3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3],
    [1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3],
)  # fmt: skip
MIDDLE = (
    [1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4],
    [1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9],
)  # fmt: skip
FAR = (
    [6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7],
    [1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15],
)  # fmt: skip


def quantile(p: float) -> float:
    """PPND16: the normal quantile to about 16 digits."""
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * horner(r, CENTRAL[0]) / horner(r, CENTRAL[1])
    r = math.sqrt(-logarithm(min(p, 1 - p)))
    r, (above, below) = (r - 1.6, MIDDLE) if r <= 5 else (r - 5, FAR)
    z = horner(r, above) / horner(r, below)
    return -z if q < 0 else z


def key_of(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8]


def standard_normal(key: bytes, i: int) -> float:
    block = i // 2
    words = philox((block & WORD, block >> 32, 0, 0), struct.unpack("<II", key))
    w0, w1 = words[2 * (i % 2)], words[2 * (i % 2) + 1]
    return quantile(((w1 << 20 | w0 >> 12) + 0.5) * 2.0**-52)


def float32_bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


def bfloat16_bits(bits: int) -> int:
    """Rounds float32 bits to the nearest bfloat16, ties to even."""
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def check() -> None:
    """Known answers of Philox; log and quantile against the standard library; the distribution as a whole."""
    answers = [
        ((0, 0, 0, 0), (0, 0), "6627e8d5e169c58dbc57ac4c9b00dbd8"),
        ((WORD,) * 4, (WORD,) * 2, "408f276d41c83b0ea20bc7c66d5451fd"),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe0994fdcceb5001e42024126ea1"),
    ]
    for counter, key, answer in answers:
        assert "".join(f"{word:08x}" for word in philox(counter, key)) == answer
    normal = statistics.NormalDist()
    points = [2.0**-53, 1e-15, 1e-12, 1e-9, *(i / 997 for i in range(1, 997)), 1 - 1e-9, 1 - 2.0**-53]
    for p in points:
        assert math.isclose(logarithm(p), math.log(p), rel_tol=1e-15, abs_tol=1e-16), p
        assert math.isclose(quantile(p), normal.inv_cdf(p), rel_tol=4e-15, abs_tol=4e-15), p

    count = 60_000
    key = key_of(7, "model.layers.0.self_attn.q_proj.weight")
    drawn = [standard_normal(key, i) for i in range(count)]
    mean, variance = statistics.fmean(drawn), statistics.pvariance(drawn)
    neighbours = statistics.fmean(a * b for a, b in zip(drawn, drawn[1:]))
    fourth = statistics.fmean(z**4 for z in drawn)
    distance = max(
        max((i + 1) / count - normal.cdf(z), normal.cdf(z) - i / count) for i, z in enumerate(sorted(drawn))
    )
    error = count**-0.5
    assert abs(mean) < 3 * error and abs(variance - 1) < 3 * math.sqrt(2) * error, (mean, variance)
    assert abs(neighbours) < 3 * error and abs(fourth - 3) < 3 * math.sqrt(96) * error, (neighbours, fourth)
    assert distance < 1.63 * error, f"Kolmogorov-Smirnov at 1 %: {distance}"
    print(f"mean {mean:.5f} variance {variance:.5f} fourth {fourth:.4f} neighbours {neighbours:.5f} KS {distance:.5f}")


def stream(seed: int, name: str) -> dict:
    key = key_of(seed, name)
    values = [standard_normal(key, i) for i in range(VALUES_EACH)]
    scaled = [float32_bits(0.0 + DEVIATION * z) for z in values]
    return {
        "seed": seed,
        "name": name,
        "key": key.hex(),
        "standard": [struct.pack(">d", z).hex() for z in values],
        "float32": [f"{bits:08x}" for bits in scaled],
        "bfloat16": [f"{bfloat16_bits(bits):04x}" for bits in scaled],
    }


check()
record = {
    "made": {"command": "python make_init.py", "versions": {"python": platform.python_version()}},
    "about": "Bit patterns, big-endian hexadecimal: `standard` float64 of mean 0 and deviation 1; `float32` and "
    "`bfloat16` of mean 0 and the deviation given.",
    "deviation": DEVIATION,
    "streams": [stream(*request) for request in STREAMS],
}
assert sum(len(entry["standard"]) for entry in record["streams"]) == 1000
(here / "init").mkdir(exist_ok=True)
(here / "init" / "values.json").write_text(json.dumps(record, indent=1) + "\n")
