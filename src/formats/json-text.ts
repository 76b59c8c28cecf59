/**
 * What JSON.parse lets pass in silence: it keeps the last of two equal keys, and takes values so deep that whoever
 * walks them overflows the stack. A file that has either is not to be trusted.
 */

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

/** More levels than any file of this program's has. */
const MAX_DEPTH = 100;

/** Why a JSON text is not to be trusted, and the key at which that was found. */
export interface JsonFault {
  key: string;
  message: string;
}

/** The first fault of `text`, which must already have passed JSON.parse; null when there is none. */
export function findJsonFault(text: string): JsonFault | null {
  // One set of seen keys per open object, null per open array.
  const open: (Set<string> | null)[] = [];
  const token = /["{}[\]]/g;
  const colon = /\s*:/y;
  let last = '';
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
      last = JSON.parse(text.slice(match.index, end)) as string;
      const seen = open.at(-1);
      if (seen?.has(last)) return { key: last, message: `${last} is named twice` };
      seen?.add(last);
    }
    if (open.length > MAX_DEPTH) {
      return { key: last, message: `${last} is nested more than ${MAX_DEPTH} levels deep` };
    }
  }
  return null;
}
