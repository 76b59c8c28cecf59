/** Numbers and progress in words, for people. */
import type { Progress } from '../run/context.js';

/** Seconds as `0.031 s`, `8.2 s`, `3 min 05 s` or `2 h 04 min`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '?';
  if (seconds < 0.095) return `${Number(seconds.toPrecision(2))} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (value: number) => String(value).padStart(2, '0');
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** Dollars: cents, and below ten cents two significant digits: `$12.40`, `$0.31`, `$0.0042`, `$0.00`. */
export function dollars(amount: number): string {
  const size = Math.abs(amount);
  const places = size === 0 || size >= 0.0995 ? 2 : Math.min(9, 1 - Math.floor(Math.log10(size)));
  return `$${amount.toFixed(places)}`;
}

/** A count in short: `870`, `12.3k`, `4.1M`. */
export function short(count: number): string {
  if (count < 999.5) return count.toFixed(0);
  if (count < 999_500) return `${(count / 1e3).toFixed(count < 99_950 ? 1 : 0)}k`;
  return `${(count / 1e6).toFixed(count < 99.95e6 ? 1 : 0)}M`;
}

/** Share of the steps done, 0 to 1, or null where there are no steps. */
export function share({ step, steps }: Progress): number | null {
  return step === undefined || steps === undefined || steps <= 0 ? null : Math.min(1, step / steps);
}

/** What is known of `progress` behind its stage and step: note, losses, speed, time left, dollars. */
export function details(progress: Progress): string {
  const parts: string[] = [];
  if (progress.note !== undefined) parts.push(progress.note);
  if (progress.loss !== undefined) parts.push(`loss ${progress.loss.toFixed(3)}`);
  if (progress.heldOutLoss !== undefined) parts.push(`held-out ${progress.heldOutLoss.toFixed(3)}`);
  if (progress.tokensPerSecond !== undefined) parts.push(`${short(progress.tokensPerSecond)} tokens/s`);
  if (progress.secondsLeft !== undefined) parts.push(`${duration(progress.secondsLeft)} left`);
  if (progress.dollars !== undefined) parts.push(dollars(progress.dollars));
  return parts.join(', ');
}

/** One line of plain text: `baseline: step 120/600 (20 %), loss 6.120, 2.1k tokens/s, 3 min 05 s left`. */
export function progressLine(progress: Progress): string {
  const done = share(progress);
  const steps =
    done === null ? [] : [`step ${progress.step}/${progress.steps} (${Math.floor(done * 100)} %)`];
  const rest = details(progress);
  return `${progress.stage}: ${[...steps, ...(rest === '' ? [] : [rest])].join(', ') || 'working'}`;
}
