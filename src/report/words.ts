/** Numbers in words for reports: as many digits as mean something. */

/** Seconds: `0.11 s`, `42 s`, `5 min 12 s`, `3.82 h`. */
export function time(seconds: number): string {
  if (seconds < 0.0005) return `${significant(seconds * 1e6, 2)} us`;
  if (seconds < 10) return `${significant(seconds, 2)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  return `${(seconds / 3600).toFixed(2)} h`;
}

/** Dollars: cents from a dollar on, two digits that count below. */
export function money(dollars: number): string {
  const size = Math.abs(dollars);
  const sign = dollars < 0 ? '-' : '';
  return `${sign}$${size >= 1 || size === 0 ? size.toFixed(2) : significant(size, 2)}`;
}

/** A number with so many significant digits, never in exponent form. */
export function significant(value: number, digits: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const places = digits - 1 - Math.floor(Math.log10(Math.abs(Number(value.toPrecision(digits)))));
  return places > 0 ? value.toFixed(Math.min(places, 20)) : Number(value.toPrecision(digits)).toFixed(0);
}

/** Large numbers by powers of a thousand: `1.64 M`, `13.4 T`. */
export function large(value: number): string {
  const units = ['', ' k', ' M', ' G', ' T', ' P', ' E'];
  let [size, unit] = [value, 0];
  while (size >= 999.5 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
  return unit === 0 ? String(Math.round(size)) : `${significant(size, 3)}${units[unit]}`;
}

/** A whole number with commas. */
export const count = (value: number): string => Math.round(value).toLocaleString('en-US');

/** A loss, nats per token. */
export const nats = (loss: number): string => loss.toFixed(3);

/** A perplexity. */
export const perplexity = (value: number): string =>
  value >= 10_000 ? count(value) : significant(value, value < 100 ? 3 : 4);

/** A ratio: `1.75 x`. */
export const times = (ratio: number): string => `${significant(ratio, ratio < 0.1 ? 2 : 3)} x`;

/** A difference with its sign. */
export const signed = (value: number): string => `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(3)}`;
