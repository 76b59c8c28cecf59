/** JSON.parse silently keeps the last of two equal keys; a file that has any is not to be trusted. */

/** Index behind the closing quote of the string whose opening quote stands at `start`. */
function stringEnd(text: string, start: number): number {
  const stop = /["\\]/g;
  stop.lastIndex = start + 1;
  for (let match = stop.exec(text); match !== null; match = stop.exec(text)) {
    if (match[0] === '"') return stop.lastIndex;
    stop.lastIndex += 1; // whatever is escaped
  }
  return text.length;
}

/**
 * The first key that stands twice in one object of `text`, which must already have passed JSON.parse; null when
 * there is none.
 */
export function findDuplicateKey(text: string): string | null {
  // One set of seen keys per open object, null per open array.
  const open: (Set<string> | null)[] = [];
  const token = /["{}[\]]/g;
  const colon = /\s*:/y;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    if (match[0] === '{') open.push(new Set());
    else if (match[0] === '[') open.push(null);
    else if (match[0] !== '"') open.pop();
    else {
      const end = stringEnd(text, match.index);
      token.lastIndex = end;
      colon.lastIndex = end;
      // In valid JSON a string is a key exactly when a colon follows it.
      if (!colon.test(text)) continue;
      const key = JSON.parse(text.slice(match.index, end)) as string;
      const seen = open.at(-1);
      if (seen?.has(key)) return key;
      seen?.add(key);
    }
  }
  return null;
}
