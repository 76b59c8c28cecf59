/**
 * WikiText: an article begins at a heading of the first level, " = Title = ", one "=" on each side; sections
 * (" = = Title = = ") belong to their article. What precedes the first heading is a document of its own.
 */
import type { Broken } from './document.js';
import type { Line } from './lines.js';
import { Gathered } from './text.js';

/** Whether a line is the heading of an article. */
export function isArticleHeading(line: string): boolean {
  return /^\s*= (?!= )\S.* =\s*$/.test(line) && !/ = =\s*$/.test(line);
}

/** The articles of a file, each with the line where it begins. */
export async function* readArticles(
  file: string,
  lines: AsyncIterable<Line[]>,
  broken: Broken,
): AsyncGenerator<{ text: string; line: number }> {
  const article = new Gathered(file, broken);
  for await (const some of lines) {
    for (const line of some) {
      if (isArticleHeading(line.text)) yield* article.take();
      article.add(line);
    }
  }
  yield* article.take();
}
