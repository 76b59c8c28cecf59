/**
 * All cores tokenise. The library encodes the texts of a batch side by side, on as many threads as it is told; what
 * is left to one thread for each batch is turning its ids into JavaScript's numbers, a tenth of the work. So a few
 * processes, each with a tokenizer and a share of the threads, keep many cores busy, and this one is free to read
 * and to write. Results depend on none of this.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { EnvironmentError } from '../errors.js';
import { nodeArguments } from '../run/node-arguments.js';
import { type EncodedTexts, encodeTexts } from './encode.js';
import type { FromEncodeProcess, ToEncodeProcess } from './encode-process.js';
import type { TextTokenizer } from './tokenizer.js';

/** Cores that one process can serve with what it does on one thread. */
const CORES_PER_PROCESS = 4;
/** A small corpus is done before a process is ready. */
const FIRST_CHARACTERS = 1 << 20;

interface Waiting {
  resolve(encoded: EncodedTexts | null): void;
  reject(error: unknown): void;
}

/** Encodes batches of texts, several at once. To be closed. */
export class Encoder {
  /** Batches that keep it busy; more than that only take memory. */
  readonly depth: number;
  readonly #tokenizer: TextTokenizer;
  readonly #threads: number;
  readonly #size: number;
  readonly #firstCharacters: number;
  #processes: EncodeProcess[] = [];
  #characters = 0;

  /**
   * @param threads cores to use
   * @param firstCharacters what is encoded here before processes are started
   */
  constructor(tokenizer: TextTokenizer, threads: number, firstCharacters = FIRST_CHARACTERS) {
    this.#tokenizer = tokenizer;
    this.#threads = threads;
    this.#size = Math.ceil(threads / CORES_PER_PROCESS);
    this.#firstCharacters = firstCharacters;
    this.depth = 2 * this.#size;
    // Read by the library when it first encodes a batch, once in a process.
    process.env.RAYON_NUM_THREADS ??= String(threads);
  }

  /** Processes that are ready. */
  get ready(): number {
    return this.#processes.filter(({ ready }) => ready).length;
  }

  /** @throws DataError where the tokenizer cannot encode a text; EnvironmentError where a process ends early. */
  async encode(texts: readonly string[]): Promise<EncodedTexts> {
    for (const text of texts) this.#characters += text.length;
    if (this.#processes.length === 0 && this.#characters > this.#firstCharacters) {
      const threads = Math.ceil(this.#threads / this.#size);
      this.#processes = Array.from({ length: this.#size }, () => new EncodeProcess(this.#tokenizer, threads));
    }
    const [idlest] = this.#processes.filter(({ ready }) => ready).sort((a, b) => a.busy - b.busy);
    const encoded = idlest && (await idlest.encode(texts));
    return encoded ?? encodeTexts(this.#tokenizer, texts);
  }

  /** Ends all processes at once, whatever they do. */
  close(): void {
    for (const one of this.#processes) one.end();
    this.#processes = [];
  }
}

class EncodeProcess {
  ready = false;
  readonly #child: ChildProcess;
  /** Batches given to it. */
  readonly #waiting = new Map<number, Waiting>();
  #batch = 0;

  constructor({ file, bytes, eos }: TextTokenizer, threads: number) {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const path = fileURLToPath(new URL(`./encode-process.${extension}`, import.meta.url));
    this.#child = fork(path, {
      execArgv: nodeArguments(path),
      env: { ...process.env, RAYON_NUM_THREADS: String(threads) },
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message: FromEncodeProcess) => {
      if (message === 'ready') this.ready = true;
      else {
        this.#waiting.get(message.batch)?.resolve(message.encoded);
        this.#waiting.delete(message.batch);
      }
    });
    this.#child.on('error', (error) => this.#lost(error.message));
    this.#child.on('exit', (code, signal) => this.#lost(signal ?? `status ${code}`));
    this.#send({ type: 'tokenizer', file, bytes, eos: eos.id });
  }

  /** Batches that it has been given and has not done. */
  get busy(): number {
    return this.#waiting.size;
  }

  /** The ids of `texts`, or null where the tokenizer could not encode them. */
  encode(texts: readonly string[]): Promise<EncodedTexts | null> {
    const batch = this.#batch++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(batch, { resolve, reject });
      this.#send({ type: 'texts', batch, texts });
    });
  }

  end(): void {
    this.#child.removeAllListeners();
    this.#child.kill('SIGKILL');
  }

  #send(message: ToEncodeProcess): void {
    // A channel that closes meanwhile is no news: the end of the process follows.
    this.#child.send(message, () => {});
  }

  /** One that never becomes ready leaves the work to this process; one that ends later takes batches with it. */
  #lost(found: string): void {
    this.ready = false;
    const error = new EnvironmentError('A process that tokenises has ended.', {
      found,
      hint: 'the same command again goes on from what was saved; SIGKILL often means that memory ran out',
    });
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
