/** Strings as Python sees them: what the harness's prompts are made with. Where JavaScript agrees, it is used. */

/** What Python's str.isspace and its regular expressions' \s hold for white space; JavaScript's \s is another set. */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const AT_START = new RegExp(`^[${SPACE}]+`);
const AT_END = new RegExp(`[${SPACE}]+$`);
const SPACES = new RegExp(`[${SPACE}]+`);
/** The four digraphs whose title case is neither their upper nor their lower case. */
const TITLES: Readonly<Record<string, string>> = {
  Ǆ: 'ǅ',
  ǆ: 'ǅ',
  Ǉ: 'ǈ',
  ǉ: 'ǈ',
  Ǌ: 'ǋ',
  ǌ: 'ǋ',
  Ǳ: 'ǲ',
  ǳ: 'ǲ',
};

/** A class of one such character for use in a regular expression: `[...]` around it is the caller's. */
export const PYTHON_SPACE = SPACE;

/** str.strip(). */
export function strip(text: string): string {
  return stripEnd(text.replace(AT_START, ''));
}

/** str.rstrip(). */
export function stripEnd(text: string): string {
  return text.replace(AT_END, '');
}

/** str.capitalize(): the first character in title case, all others in lower case. */
export function capitalize(text: string): string {
  const first = String.fromCodePoint(...[...text.slice(0, 2)].slice(0, 1).map((c) => c.codePointAt(0)!));
  const upper = first.toUpperCase();
  const [head = '', ...tail] = upper;
  const title = TITLES[first] ?? head + tail.join('').toLowerCase();
  // Lower-cased as a whole, so that a final sigma sees what stands before it.
  return title + text.toLowerCase().slice(first.toLowerCase().length);
}

/** len(): code points, where JavaScript counts UTF-16 units. */
export function length(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** len(re.split(r"\s+", text)): words, and one more for white space at either end. */
export function countWords(text: string): number {
  return text.split(SPACES).length;
}
