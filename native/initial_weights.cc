#include "initial_weights.h"

#include <array>
#include <cmath>
#include <cstring>

namespace disco {

namespace {

// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
std::array<uint32_t, 4> Philox(uint32_t key0, uint32_t key1, uint64_t counter) {
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key1, static_cast<uint32_t>(p0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return c;
}

// Natural logarithm of a positive normal number: log(m 2^e) = e log 2 + 2 artanh((m - 1) / (m + 1)), with m in
// [sqrt(1/2), sqrt 2) and the series cut after s^25. libm's differs between versions; this does not.
double Log(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  int64_t exponent = static_cast<int64_t>(bits >> 52) - 1023;
  bits = (bits & 0x000FFFFFFFFFFFFFull) | 0x3FF0000000000000ull;
  double m;
  std::memcpy(&m, &bits, sizeof m);
  if (m >= 1.4142135623730951) {
    m *= 0.5;
    exponent += 1;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double t = s * s;
  double sum = 1.0 / 25.0;
  for (int denominator = 23; denominator >= 1; denominator -= 2) sum = 1.0 / denominator + t * sum;
  return static_cast<double>(exponent) * 0.69314718055994530942 + 2.0 * s * sum;
}

double Horner(const std::array<double, 8>& coefficients, double x) {
  double value = coefficients[7];
  for (int i = 6; i >= 0; --i) value = value * x + coefficients[static_cast<size_t>(i)];
  return value;
}

// Algorithm AS 241 (PPND16): Wichura, Applied Statistics 37(3), 1988. Relative accuracy about 1e-16.
constexpr std::array<double, 8> kA = {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
                                      1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
                                      3.3430575583588128105e4, 2.5090809287301226727e3};
constexpr std::array<double, 8> kB = {1.0,                     4.2313330701600911252e1, 6.8718700749205790830e2,
                                      5.3941960214247511077e3, 2.1213794301586595867e4, 3.9307895800092710610e4,
                                      2.8729085735721942674e4, 5.2264952788528545610e3};
constexpr std::array<double, 8> kC = {1.42343711074968357734e0,  4.63033784615654529590e0,  5.76949722146069140550e0,
                                      3.64784832476320460504e0,  1.27045825245236838258e0,  2.41780725177450611770e-1,
                                      2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr std::array<double, 8> kD = {1.0,                       2.05319162663775882187e0,  1.67638483018380384940e0,
                                      6.89767334985100004550e-1, 1.48103976427480074590e-1, 1.51986665636164571966e-2,
                                      5.47593808499534494600e-4, 1.05075007164441684324e-9};
constexpr std::array<double, 8> kE = {6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                                      2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                      2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr std::array<double, 8> kF = {1.0,                       5.99832206555887937690e-1, 1.36929880922735805310e-1,
                                      1.48753612908506148525e-2, 7.86869131145613259100e-4, 1.84631831751005468180e-5,
                                      1.42151175831644588870e-7, 2.04426310338993978564e-15};

double Quantile(double p) {
  const double q = p - 0.5;
  if (q >= -0.425 && q <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * Horner(kA, r) / Horner(kB, r);
  }
  double r = std::sqrt(-Log(q < 0 ? p : 1.0 - p));
  double value;
  if (r <= 5.0) {
    r -= 1.6;
    value = Horner(kC, r) / Horner(kD, r);
  } else {
    r -= 5.0;
    value = Horner(kE, r) / Horner(kF, r);
  }
  return q < 0 ? -value : value;
}

}  // namespace

double InitialNormal(uint32_t key0, uint32_t key1, uint64_t index) {
  const auto words = Philox(key0, key1, index / 2);
  const size_t first = 2 * (index % 2);
  const uint64_t u = (static_cast<uint64_t>(words[first + 1]) << 20) + (words[first] >> 12);
  return Quantile((static_cast<double>(u) + 0.5) * 0x1p-52);
}

}  // namespace disco
