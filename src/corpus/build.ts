/** From texts to token stores: splits, tokens, counts. Knows nothing of runs and stages. */
import { DataError, RequestError, StoppedError } from '../errors.js';
import type { FileRecord } from '../formats/hash.js';
import type { WrittenStore } from '../formats/token-writer.js';
import type { Recipe, Source } from '../recipe/schema.js';
import type { StopSignal } from '../run/context.js';
import { testPoint } from '../run/test-point.js';
import { countSkipped, type SkippedDocuments } from './document.js';
import type { EncodedTexts } from './encode.js';
import { Encoder } from './encoder.js';
import { type BuildPosition, CorpusParts, type SplitSummary } from './parts.js';
import { readDocuments, sourceFiles } from './readers.js';
import type { SourceFile } from './sources.js';
import { SPLITS, type Split, splitOf } from './split.js';
import type { TextTokenizer } from './tokenizer.js';

/** Characters and documents encoded at once: enough to keep every core busy, little enough to hold. */
const BATCH = { characters: 1 << 18, documents: 1 << 13 };
/** Characters between two savings: what a kill costs is the time that they take, about five seconds on one core. */
const CHUNK_CHARACTERS = 1 << 24;

export interface BuildOptions {
  corpus: Recipe['corpus'];
  /** Files of the sources, where they were listed before. */
  files?: Partial<Record<Split, SourceFile[]>>;
  tokenizer: TextTokenizer;
  folder: string;
  /** E: training needs at least as many documents. */
  experts: number;
  /** Cores that tokenise. */
  threads: number;
  stop: StopSignal;
  /** Called when some documents were written. */
  progress: (state: BuildState) => void;
  say: (text: string) => void;
  /** Called before a file appears; may throw. */
  check: () => void;
  /** Characters between two savings, and encoded at once if they are fewer than otherwise. */
  chunkCharacters?: number;
}

/** How far a build is. */
export interface BuildState {
  /** The source that is read. */
  source: Split;
  splits: Record<Split, SplitSummary>;
  /** Bytes of the files of all sources that were read, and that there are; null where that cannot be known. */
  read: number;
  size: number | null;
}

export interface BuiltCorpus {
  splits: Record<Split, SplitSummary & { files: WrittenStore['files'] }>;
  /** The labels of the training documents, where the recipe wants them. */
  labels: FileRecord | null;
  skipped: SkippedDocuments;
}

/**
 * Writes {train,validation,test}.{bin,idx} into `folder`: whole documents, each with its end token, in the order of
 * the sources. Either all documents were read, or nothing appears. Goes on where an attempt before was ended; what
 * it saved is to be removed with removeParts when the result is safe.
 *
 * @throws DataError where a source is wrong or empty, a split has no document, or training has fewer than E: there
 * is then nothing to go on with; StoppedError after saving, when asked to stop
 */
export async function buildStores(options: BuildOptions): Promise<BuiltCorpus> {
  const { folder, tokenizer, say, threads } = options;
  const parts = await CorpusParts.open(
    folder,
    tokenizer.largestId + 1,
    options.corpus.labelField !== null,
    () => say('corpus: what an earlier attempt has left is damaged; the corpus is read from the beginning'),
  );
  const encoder = new Encoder(tokenizer, threads);
  try {
    return await new Build(options, parts, encoder).run();
  } catch (error) {
    const useless = error instanceof DataError || error instanceof RequestError || !parts.saved;
    if (useless && passes(options.check)) parts.remove();
    throw error;
  } finally {
    parts.leave();
    encoder.close();
  }
}

function passes(check: () => void): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

/** Texts gathered to be encoded, and later written, together. */
interface Batch {
  texts: string[];
  documents: { split: Split; bytes: number; label: string | null }[];
  characters: number;
  /** Behind its last document. */
  position: BuildPosition;
}

/** A batch that is being encoded. */
type Encoding = Omit<Batch, 'texts'> & { encoded: Promise<EncodedTexts> };

class Build {
  /** Documents of each split that were read, written or not. */
  readonly #taken: Record<Split, number>;
  readonly #encoding: Encoding[] = [];
  readonly #chunkCharacters: number;
  readonly #batchCharacters: number;
  #batch: Batch | null = null;
  #skipped: SkippedDocuments;
  #unsaved = 0;
  /** Bytes of the files that were read, or passed over because an attempt before did. */
  #bytesRead = 0;

  constructor(
    readonly options: BuildOptions,
    readonly parts: CorpusParts,
    readonly encoder: Encoder,
  ) {
    const taken = (split: Split) => parts.splits[split].summary.documents + parts.splits[split].summary.empty;
    this.#taken = { train: taken('train'), validation: taken('validation'), test: taken('test') };
    this.#chunkCharacters = options.chunkCharacters ?? CHUNK_CHARACTERS;
    this.#batchCharacters = Math.min(BATCH.characters, this.#chunkCharacters);
    this.#skipped = parts.position?.skipped ?? { documents: 0, first: [] };
  }

  async run(): Promise<BuiltCorpus> {
    const { corpus, experts, check, say } = this.options;
    const { position, splits } = this.parts;
    if (position !== null) {
      const documents = SPLITS.reduce((sum, split) => sum + splits[split].summary.documents, 0);
      say(`corpus: continues after ${documents.toLocaleString('en')} documents`);
    }
    for (const name of SPLITS) {
      const source = corpus[name];
      if (source === null) continue;
      if (SPLITS.indexOf(name) < SPLITS.indexOf(position?.source ?? 'train')) {
        this.#bytesRead += sizeOf(this.options.files?.[name]);
        continue;
      }
      await this.#read(name, source, position?.source === name ? position : null);
    }
    await this.#submit();
    while (this.#encoding.length > 0) await this.#write();
    this.#requireDocuments(experts);
    await this.parts.save(check);
    const built = {} as BuiltCorpus['splits'];
    for (const split of SPLITS) {
      const { writer, summary } = splits[split];
      const { files } = await writer.finish(check);
      built[split] = { ...summary, files };
    }
    const labels = (await this.parts.labels?.finish(check)) ?? null;
    return { splits: built, labels, skipped: this.#skipped };
  }

  /** Sends the documents of one source to their splits, the first `maxDocuments` of each. */
  async #read(name: Split, source: Source, from: BuildPosition | null): Promise<void> {
    const { corpus } = this.options;
    const fed = SPLITS.filter((split) => split === name || (name === 'train' && corpus[split] === null));
    const skipped = (fault: DataError, documents: number) => {
      this.#skipped = countSkipped(this.#skipped, fault, documents);
    };
    let found = from !== null;
    const files = this.options.files?.[name];
    if (from !== null) this.#bytesRead += sizeOf(files?.slice(0, from.place.index));
    const read = (bytes: number) => {
      this.#bytesRead += bytes;
    };
    const documents = readDocuments(source, corpus.unit, {
      skipped,
      read,
      labelField: corpus.labelField,
      ...(files && { files }),
      ...(from && { after: from.place }),
    });
    for await (const { text, index, line, label = null } of documents) {
      found = true;
      const split = name === 'train' ? splitOf(text, corpus) : name;
      const position = { source: name, place: { index, line }, skipped: this.#skipped };
      if (!this.#full(split)) await this.#add(split, text, label, position);
      if (fed.every((one) => this.#full(one))) break;
    }
    if (!found) {
      throw new DataError(`The ${name} corpus has no documents.`, {
        file: sourceFiles(source).join(', '),
        expected: 'text that is not blank',
      });
    }
  }

  /** Whether `maxDocuments` were taken. */
  #full(split: Split): boolean {
    const { maxDocuments } = this.options.corpus;
    return maxDocuments !== null && this.#taken[split] >= maxDocuments;
  }

  async #add(split: Split, text: string, label: string | null, position: BuildPosition): Promise<void> {
    this.#taken[split]++;
    this.#batch ??= { texts: [], documents: [], characters: 0, position };
    const batch = this.#batch;
    batch.texts.push(text);
    batch.documents.push({ split, bytes: Buffer.byteLength(text), label });
    batch.characters += text.length;
    batch.position = position;
    const full = batch.characters >= this.#batchCharacters || batch.texts.length >= BATCH.documents;
    if (full) await this.#submit();
  }

  /** Has the gathered texts encoded; waits until there is room, for reading is faster. */
  async #submit(): Promise<void> {
    if (this.#batch === null) return;
    const { texts, ...batch } = this.#batch;
    this.#batch = null;
    const encoded = this.encoder.encode(texts);
    // An error shows where the batch is written; until then nobody listens.
    encoded.catch(() => {});
    this.#encoding.push({ ...batch, encoded });
    while (this.#encoding.length > this.encoder.depth) await this.#write();
  }

  /** Writes the batch that was given first, whichever is encoded first. */
  async #write(): Promise<void> {
    const { documents, characters, position, encoded } = this.#encoding.shift()!;
    const { ids, lengths } = await encoded;
    let at = 0;
    documents.forEach(({ split, bytes, label }, i) => {
      this.parts.add(split, ids.subarray(at, at + lengths[i]!), bytes, label);
      at += lengths[i]!;
    });
    this.parts.position = position;
    this.#unsaved += characters;
    const { options } = this;
    if (this.#unsaved >= this.#chunkCharacters) await this.#save();
    options.progress(this.#state(position.source));
    if (!options.stop.requested) return;
    await this.#save();
    throw new StoppedError(`corpus: stopped (${options.stop.reason}) and saved.`, {
      hint: 'run the same command again to continue',
    });
  }

  #state(source: Split): BuildState {
    const { corpus, files } = this.options;
    const { train, validation, test } = this.parts.splits;
    // Who takes only the first documents need not read all.
    const known = files !== undefined && corpus.maxDocuments === null;
    const size = known ? SPLITS.reduce((sum, split) => sum + sizeOf(files[split]), 0) : null;
    const splits = { train: train.summary, validation: validation.summary, test: test.summary };
    return { source, splits, read: this.#bytesRead, size };
  }

  async #save(): Promise<void> {
    if (this.#unsaved === 0) return;
    await this.parts.save(this.options.check);
    this.#unsaved = 0;
    await testPoint('chunk-saved:corpus');
  }

  #requireDocuments(experts: number): void {
    const { corpus } = this.options;
    const file = sourceFiles(corpus.train).join(', ');
    for (const split of ['validation', 'test'] as const) {
      if (this.parts.splits[split].summary.documents > 0) continue;
      throw new DataError(`No document fell into the ${split} split.`, {
        file,
        hint: `raise corpus.holdout.${split}, name a source in corpus.${split}, or use unit: row`,
      });
    }
    requireExperts(this.parts.splits.train.summary.documents, experts, file);
  }
}

function sizeOf(files: readonly SourceFile[] = []): number {
  return files.reduce((sum, { size }) => sum + size, 0);
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
