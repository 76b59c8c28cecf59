/**
 * Glob patterns over names with "/" between the segments: `*` and `?` within a segment, `[abc]`, `[!a-z]`, `{a,b}`
 * and `**` for any number of segments. No regular expression is built from a pattern, so no pattern, however
 * hostile, takes more than time proportional to its length times the name's.
 */
import { RequestError } from '../errors.js';

const MAX_ALTERNATIVES = 256;

/** Whether a path is a pattern rather than a name. */
export function isGlob(path: string): boolean {
  return /[*?[\]{}]/.test(path);
}

/** The leading segments of a pattern that are names: every match lies in that folder. Empty where there are none. */
export function globRoot(pattern: string): string {
  const segments = pattern.split('/');
  const first = segments.findIndex(isGlob);
  return segments.slice(0, first < 0 ? -1 : first).join('/');
}

/**
 * A test of names against `pattern`.
 * @throws RequestError where braces give more than 256 alternatives.
 */
export function globMatcher(pattern: string): (name: string) => boolean {
  const alternatives = expandBraces(pattern).map((one) => one.split('/'));
  return (name) => {
    const segments = name.split('/');
    return alternatives.some((one) => matchSegments(one, segments));
  };
}

function expandBraces(pattern: string): string[] {
  let patterns = [pattern];
  for (;;) {
    const next = patterns.flatMap((one) => {
      // The innermost pair first, so that nested ones unfold outwards.
      const match = /\{([^{}]*)\}/.exec(one);
      if (match === null) return [one];
      const before = one.slice(0, match.index);
      const after = one.slice(match.index + match[0].length);
      return match[1]!.split(',').map((part) => before + part + after);
    });
    if (next.length > MAX_ALTERNATIVES) {
      throw new RequestError('The pattern has too many alternatives.', {
        key: pattern,
        expected: `at most ${MAX_ALTERNATIVES}`,
      });
    }
    if (next.every((one, i) => one === patterns[i])) return next;
    patterns = next;
  }
}

/**
 * Greedy matching of a row with wildcards: only the last wildcard is ever gone back to, which is enough, since
 * whatever an earlier one could take a later one can take as well.
 */
function matchRow<P, T>(
  pattern: ArrayLike<P>,
  row: ArrayLike<T>,
  isStar: (part: P) => boolean,
  equal: (part: P, item: T) => boolean,
): boolean {
  let p = 0;
  let star = -1;
  let taken = 0;
  for (let i = 0; i < row.length; ) {
    if (p < pattern.length && isStar(pattern[p]!)) {
      star = p++;
      taken = i;
    } else if (p < pattern.length && equal(pattern[p]!, row[i]!)) {
      p++;
      i++;
    } else if (star >= 0) {
      p = star + 1;
      i = ++taken;
    } else return false;
  }
  while (p < pattern.length && isStar(pattern[p]!)) p++;
  return p === pattern.length;
}

function matchSegments(pattern: readonly string[], segments: readonly string[]): boolean {
  return matchRow(pattern, segments, (part) => part === '**', matchSegment);
}

function matchSegment(pattern: string, segment: string): boolean {
  return matchRow(
    partsOf(pattern),
    Array.from(segment),
    (part) => part === '*' || part === '**',
    (part, character) => part === '?' || part === character || (part.length > 1 && inClass(part, character)),
  );
}

/** Characters of a segment's pattern, a class `[...]` being one part; "[" without its end stands for itself. */
function partsOf(pattern: string): string[] {
  return pattern.match(/\[[!^]?(?:\][^\]]*|[^\]]+)\]|\*+|[\s\S]/gu) ?? [];
}

function inClass(part: string, character: string): boolean {
  const negated = (part[1] === '!' || part[1] === '^') && part.length > 3;
  const members = Array.from(part.slice(negated ? 2 : 1, -1));
  let found = false;
  for (let i = 0; i < members.length; i++) {
    const range = members[i + 1] === '-' && i + 2 < members.length;
    const last = range ? members[i + 2]! : members[i]!;
    found ||= members[i]! <= character && character <= last;
    if (range) i += 2;
  }
  return found !== negated;
}
