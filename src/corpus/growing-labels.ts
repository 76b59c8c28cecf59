/** corpus/labels.jsonl in the making: see src/formats/labels.ts. Like the token stores beside it, it can be gone on with. */
import { existsSync, renameSync } from 'node:fs';
import { AtomicFile, type SavedBeginning } from '../formats/atomic.js';
import type { FileRecord } from '../formats/hash.js';

/** Lines gathered before they go to the file. */
const GATHERED = 1024;

/** Labels of documents, one line each. Nothing is seen before {@link GrowingLabels.finish}. */
export class GrowingLabels {
  #lines: string[] = [];

  private constructor(private readonly file: AtomicFile) {}

  /** Begins `path`; `part` outlives this process. */
  static begin(path: string, part: string): GrowingLabels {
    return new GrowingLabels(new AtomicFile(path, part));
  }

  /** Goes on behind what was saved; null where the part does not begin so. */
  static async resume(path: string, part: string, saved: SavedBeginning): Promise<GrowingLabels | null> {
    if (!existsSync(part) && existsSync(path)) renameSync(path, part);
    const file = await AtomicFile.resume(path, part, saved);
    return file === null ? null : new GrowingLabels(file);
  }

  /** Appends the label of the next document. */
  add(label: string | null): void {
    this.#lines.push(`${JSON.stringify(label)}\n`);
    if (this.#lines.length >= GATHERED) this.#flush();
  }

  /** Makes the labels added so far durable. */
  save(): Promise<SavedBeginning> {
    this.#flush();
    return this.file.save();
  }

  /** Publishes the file; `check` as in {@link AtomicFile.commit}. */
  finish(check: () => void): Promise<FileRecord> {
    this.#flush();
    return this.file.commit(check);
  }

  /** Writes no more; what was saved stays. */
  leave(): void {
    this.file.leave();
  }

  #flush(): void {
    if (this.#lines.length > 0) this.file.write(this.#lines.join(''));
    this.#lines = [];
  }
}
