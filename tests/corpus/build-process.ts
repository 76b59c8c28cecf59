/**
 * Builds a corpus and kills itself on the way: `build-process.ts REQUEST.json`, see {@link Request}. Prints what was
 * said.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildStores } from '../../src/corpus/build.js';
import { TextTokenizer } from '../../src/corpus/tokenizer.js';
import type { Recipe } from '../../src/recipe/schema.js';

export interface Request {
  folder: string;
  corpus: Recipe['corpus'];
  /** When: before a file appears, at this call or when this file is there; so long after the first batch. */
  kill: { check: number } | { published: string } | { milliseconds: number } | null;
}

const { folder, corpus, kill } = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as Request;
const die = () => process.kill(process.pid, 'SIGKILL');
let checks = 0;
let timer: NodeJS.Timeout | undefined;
const built = await buildStores({
  corpus,
  tokenizer: await TextTokenizer.load(corpus.tokenizer),
  folder,
  experts: 2,
  threads: 2,
  stop: { requested: false, reason: '' },
  progress: () => {
    if (kill !== null && 'milliseconds' in kill) timer ??= setTimeout(die, kill.milliseconds);
  },
  say: (text) => console.log(text),
  check: () => {
    checks++;
    if (kill === null) return;
    if ('check' in kill && checks === kill.check) die();
    if ('published' in kill && existsSync(join(folder, kill.published))) die();
  },
  chunkCharacters: 10_000,
});
console.log(JSON.stringify(built));
clearTimeout(timer);
