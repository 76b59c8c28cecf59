/** From texts to token stores: splits, tokens, counts. Knows nothing of runs and stages. */
import { join } from 'node:path';
import { DataError } from '../errors.js';
import { TokenWriter, type WrittenStore } from '../formats/token-writer.js';
import type { Recipe } from '../recipe/schema.js';
import { readDocuments, sourceFiles } from './readers.js';
import { SPLITS, type Split, splitOf } from './split.js';
import type { TextTokenizer } from './tokenizer.js';

/** Characters of text encoded at once: enough to keep every core busy, little enough to hold. */
const BATCH_CHARACTERS = 1 << 20;

/** What a split holds. */
export interface SplitSummary {
  documents: number;
  /** End tokens included. */
  tokens: number;
  /** Bytes of the texts in UTF-8. */
  bytes: number;
  /** Documents without a token, left out. */
  empty: number;
}

export interface BuildOptions {
  corpus: Recipe['corpus'];
  tokenizer: TextTokenizer;
  folder: string;
  /** E: training needs at least as many documents. */
  experts: number;
  /** Called between batches of documents; may throw to stop. */
  between: (split: Split, summary: SplitSummary) => void;
  /** Called before a file appears; may throw. */
  check: () => void;
}

export type BuiltCorpus = Record<Split, SplitSummary & { files: WrittenStore['files'] }>;

/**
 * Writes {train,validation,test}.{bin,idx} into `folder`: whole documents, each with its end token. Either all
 * documents were read and none is missing, or nothing appears.
 *
 * @throws DataError where a source is wrong or empty, a split has no document, or training has fewer than E.
 */
export async function buildStores(options: BuildOptions): Promise<BuiltCorpus> {
  const { corpus, tokenizer, folder } = options;
  const open = {} as Record<Split, SplitBuilder>;
  try {
    for (const split of SPLITS)
      open[split] = new SplitBuilder(split, join(folder, split), tokenizer, options);
    await readAll(corpus, corpus.train, 'train', open, (text) => splitOf(text, corpus));
    if (corpus.validation) await readAll(corpus, corpus.validation, 'validation', open, () => 'validation');
    if (corpus.test) await readAll(corpus, corpus.test, 'test', open, () => 'test');
    for (const split of SPLITS) await open[split].flush();
    requireDocuments(corpus, open, options.experts);
    const built = {} as BuiltCorpus;
    for (const split of SPLITS) {
      const { files } = await open[split].writer.finish(options.check);
      built[split] = { ...open[split].summary, files };
    }
    return built;
  } finally {
    for (const builder of Object.values(open)) builder.writer.abort();
  }
}

/** Sends the documents of one source to their splits, the first `maxDocuments` of each. */
async function readAll(
  corpus: Recipe['corpus'],
  source: NonNullable<Recipe['corpus']['test']>,
  name: Split,
  open: Record<Split, SplitBuilder>,
  choose: (text: string) => Split,
): Promise<void> {
  const fed = SPLITS.filter(
    (split) => split === name || (name === 'train' && corpus[split as 'test'] === null),
  );
  let found = false;
  for await (const { text } of readDocuments(source, corpus.unit)) {
    found = true;
    await open[choose(text)].add(text);
    if (fed.every((split) => open[split].full)) break;
  }
  if (!found) {
    throw new DataError(`The ${name} corpus has no documents.`, {
      file: sourceFiles(source).join(', '),
      expected: 'text that is not blank',
    });
  }
}

function requireDocuments(
  corpus: Recipe['corpus'],
  open: Record<Split, SplitBuilder>,
  experts: number,
): void {
  const file = sourceFiles(corpus.train).join(', ');
  for (const split of ['validation', 'test'] as const) {
    if (open[split].summary.documents > 0) continue;
    throw new DataError(`No document fell into the ${split} split.`, {
      file,
      hint: `raise corpus.holdout.${split}, name a source in corpus.${split}, or use unit: row`,
    });
  }
  requireExperts(open.train.summary.documents, experts, file);
}

/** @throws DataError where there are fewer training documents than experts. */
export function requireExperts(documents: number, experts: number, file: string): void {
  if (documents >= experts) return;
  throw new DataError('There are fewer training documents than experts.', {
    file,
    expected: `at least ${experts}`,
    found: String(documents),
    hint: 'use more text, fewer experts, or unit: row, which takes every line as a document',
  });
}

/** One split in the making: texts gathered into batches, encoded, written. */
class SplitBuilder {
  readonly writer: TokenWriter;
  readonly summary: SplitSummary = { documents: 0, tokens: 0, bytes: 0, empty: 0 };
  #texts: string[] = [];
  #characters = 0;
  #taken = 0;

  constructor(
    readonly split: Split,
    prefix: string,
    readonly tokenizer: TextTokenizer,
    readonly options: BuildOptions,
  ) {
    this.writer = new TokenWriter(prefix, tokenizer.largestId + 1);
  }

  /** Whether `maxDocuments` were taken. */
  get full(): boolean {
    const limit = this.options.corpus.maxDocuments;
    return limit !== null && this.#taken >= limit;
  }

  async add(text: string): Promise<void> {
    if (this.full) return;
    this.#taken++;
    this.#texts.push(text);
    this.#characters += text.length;
    if (this.#characters >= BATCH_CHARACTERS) await this.flush();
  }

  async flush(): Promise<void> {
    const texts = this.#texts;
    this.#texts = [];
    this.#characters = 0;
    for (const [i, ids] of (await this.tokenizer.encode(texts)).entries()) {
      if (ids.length === 0) {
        this.summary.empty++;
        continue;
      }
      const document = new Int32Array(ids.length + 1);
      document.set(ids);
      document[ids.length] = this.tokenizer.eos.id;
      this.writer.add(document);
      this.summary.bytes += Buffer.byteLength(texts[i]!);
    }
    this.summary.documents = this.writer.documents;
    this.summary.tokens = this.writer.tokens;
    this.options.between(this.split, this.summary);
  }
}
