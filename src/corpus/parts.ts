/**
 * A corpus in the making: token stores that grow in corpus/partial/ and saved.json beside them, which says how far
 * all of them are durable and which document was the last. A killed build goes on behind it.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { writeJson } from '../formats/atomic.js';
import { LABELS_FILE } from '../formats/labels.js';
import { TokenWriter } from '../formats/token-writer.js';
import { FORMAT, readVersioned } from '../run/versioned.js';
import type { Place, SkippedDocuments } from './document.js';
import { GrowingLabels } from './growing-labels.js';
import { SPLITS, type Split } from './split.js';

const count = z.int().nonnegative();

/** What a split holds. */
export const splitSummarySchema = z.object({
  documents: count,
  /** End tokens included. */
  tokens: count,
  /** Bytes of the texts in UTF-8. */
  bytes: count,
  /** Documents without a token, left out. */
  empty: count,
});
export type SplitSummary = z.output<typeof splitSummarySchema>;

const beginning = z.object({ size: count, sha256: z.string() });
const savedSplit = z.object({
  summary: splitSummarySchema,
  store: z.object({ bin: beginning, lengths: beginning }),
});
/** See {@link SkippedDocuments}. */
export const skippedSchema = z.object({
  documents: count,
  first: z.array(z.object({ file: z.string(), place: z.string(), fault: z.string() })),
});
const savedSchema = z.object({
  format: z.literal(FORMAT),
  source: z.enum(SPLITS),
  place: z.object({ index: count, line: count }),
  skipped: skippedSchema,
  splits: z.object({ train: savedSplit, validation: savedSplit, test: savedSplit }),
  labels: beginning.optional(),
});

/** The last document of what was written, and what was left out up to it. */
export interface BuildPosition {
  /** The source that it belongs to. */
  source: Split;
  place: Place;
  skipped: SkippedDocuments;
}

/** A store in the making and what it holds. */
export interface GrowingSplit {
  writer: TokenWriter;
  summary: SplitSummary;
}

/** The stores of all splits in the making. */
export class CorpusParts {
  /** Behind the last document that was added; null before the first. */
  position: BuildPosition | null;
  /** Whether there is anything that another attempt can go on with. */
  saved: boolean;

  private constructor(
    private readonly folder: string,
    readonly splits: Record<Split, GrowingSplit>,
    /** Labels of the training documents, where they are kept. */
    readonly labels: GrowingLabels | null,
    position: BuildPosition | null,
  ) {
    this.position = position;
    this.saved = position !== null;
  }

  /**
   * Opens what an earlier attempt has left in `folder` (the stage's), or begins.
   *
   * @param labelled whether the labels of training documents are kept
   * @param damaged told where something was left that is not as it was saved: everything begins anew then
   * @throws DataError where saved.json is of a newer format or another shape
   */
  static async open(
    folder: string,
    vocabularySize: number,
    labelled: boolean,
    damaged: () => void,
  ): Promise<CorpusParts> {
    const labelsFile = [join(folder, LABELS_FILE), join(partsFolder(folder), LABELS_FILE)] as const;
    const path = (split: Split) => ({ prefix: join(folder, split), parts: join(partsFolder(folder), split) });
    const saved = readVersioned(join(partsFolder(folder), 'saved.json'), savedSchema);
    if (saved !== null) {
      const splits: Partial<Record<Split, GrowingSplit>> = {};
      for (const split of SPLITS) {
        const { prefix, parts } = path(split);
        const { store, summary } = saved.splits[split];
        const writer = await TokenWriter.resume(prefix, vocabularySize, parts, store);
        if (writer !== null) splits[split] = { writer, summary };
      }
      const labels = saved.labels ? await GrowingLabels.resume(...labelsFile, saved.labels) : null;
      const whole = SPLITS.every((split) => splits[split] !== undefined) && (labels !== null) === labelled;
      if (whole) return new CorpusParts(folder, splits as Record<Split, GrowingSplit>, labels, saved);
      labels?.leave();
      for (const split of Object.values(splits)) split.writer.leave();
      damaged();
    }
    removeParts(folder);
    const splits = {} as Record<Split, GrowingSplit>;
    for (const split of SPLITS) {
      const { prefix, parts } = path(split);
      const summary = { documents: 0, tokens: 0, bytes: 0, empty: 0 };
      splits[split] = { writer: new TokenWriter(prefix, vocabularySize, { parts }), summary };
    }
    const labels = labelled ? GrowingLabels.begin(...labelsFile) : null;
    return new CorpusParts(folder, splits, labels, null);
  }

  /** Appends one document, end token included; none where it has no token. */
  add(split: Split, ids: Int32Array, bytes: number, label: string | null): void {
    const { writer, summary } = this.splits[split];
    if (ids.length === 0) {
      summary.empty++;
      return;
    }
    writer.add(ids);
    if (split === 'train') this.labels?.add(label);
    summary.documents++;
    summary.tokens += ids.length;
    summary.bytes += bytes;
  }

  /** Makes what was added durable, to be gone on with behind {@link position}. @param check called last */
  async save(check: () => void): Promise<void> {
    if (this.position === null) return;
    const splits: Record<string, unknown> = {};
    for (const split of SPLITS) {
      const { writer, summary } = this.splits[split];
      splits[split] = { summary, store: await writer.save() };
    }
    const { source, place, skipped } = this.position;
    const labels = await this.labels?.save();
    const saved = savedSchema.parse({ format: FORMAT, source, place, skipped, splits, labels });
    writeJson(join(partsFolder(this.folder), 'saved.json'), saved, check);
    this.saved = true;
  }

  /** Writes no more; what was saved stays. */
  leave(): void {
    for (const split of SPLITS) this.splits[split].writer.leave();
    this.labels?.leave();
  }

  /** Writes no more and removes everything. */
  remove(): void {
    this.leave();
    removeParts(this.folder);
  }
}

function partsFolder(folder: string): string {
  return join(folder, 'partial');
}

/** Removes what a build has left in `folder`, the corpus stage's, beside its result. */
export function removeParts(folder: string): void {
  rmSync(partsFolder(folder), { recursive: true, force: true });
}
