/**
 * The corpus stage: documents in, `corpus/{train,validation,test}.{bin,idx}`, `tokenizer.json` and `corpus.json`
 * out. Where the sources lie is no part of the result's key, what they hold is.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DataError, RequestError } from '../errors.js';
import { writeFileAtomic, writeJson } from '../formats/atomic.js';
import { hashJson, type Json } from '../formats/hash.js';
import { TokenStore } from '../formats/token-store.js';
import { expertCount } from '../recipe/check.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun } from '../run/context.js';
import { type Done, readDone } from '../run/done.js';
import { RunFolder } from '../run/folder.js';
import { readManifest } from '../run/manifest.js';
import { runStage, type StageContext, type StageResult } from '../run/stage.js';
import { threadsFor } from '../run/threads.js';
import { type BuiltCorpus, buildStores, requireExperts } from './build.js';
import type { SkippedDocuments } from './document.js';
import { reportingTo } from './hub/reporting.js';
import { type Commits, type CorpusInputs, corpusInputs } from './inputs.js';
import { removeParts, type SplitSummary, skippedSchema, splitSummarySchema } from './parts.js';
import { progressOf } from './progress.js';
import { sourceFiles } from './readers.js';
import { SPLITS, type Split } from './split.js';
import { TextTokenizer } from './tokenizer.js';

const TOKENIZER = 'tokenizer.json';

/**
 * Builds the corpus of a run, or returns the finished one. Where sources have been moved away after it was
 * finished, the finished one stands.
 *
 * @throws DataError, RequestError for sources, tokenizer or recipe that do not fit; StoppedError after saving, when
 * asked to stop
 */
export async function buildCorpus(context: StageRun): Promise<Done> {
  const { run, recipe, reporter } = context;
  const { corpus } = recipe;
  const finished = findFinished(run);
  const moved = finished !== null && !existsSync(corpus.tokenizer) ? finished : null;
  const tokenizer = await TextTokenizer.load(
    moved === null ? corpus.tokenizer : join(moved.folder, TOKENIZER),
    // What stood beside the tokenizer, and may have named the end, is gone with it.
    configuredEnd(recipe) ?? (moved && endTokenOf(moved.done)),
  );
  requireVocabulary(tokenizer, recipe);

  const before = finished && { ...finished.done, commits: summaryOf(finished.done).commits ?? {} };
  const sources = await corpusInputs(corpus, before, commitsBefore(run), reportingTo(context));
  const inputs = { ...sources.hashes, tokenizer: tokenizer.sha256 };
  const experts = expertCount(recipe);
  const files = sourceFiles(corpus.train).join(', ');
  const done = await runStage(
    {
      run,
      stage: 'corpus',
      reads: corpusReads(corpus, sources, tokenizer),
      inputs,
      command: `moe-disco corpus ${run.root}`,
      ...(Object.keys(sources.commits).length > 0 && { execution: { commits: sources.commits } }),
      say: (text) => reporter.say(text),
    },
    (stage) => build(context, stage, tokenizer, { ...sources, hashes: inputs }, experts),
  );
  removeParts(run.stage('corpus').own);
  // The number of experts is no part of the key: another one may be asked of a finished corpus.
  requireExperts(splitsOf(done).train.documents, experts, files);
  return done;
}

/** The corpus as it was finished, in this run or in one that it was forked from; null where there is none. */
function findFinished(run: RunFolder): { folder: string; done: Done } | null {
  for (const root of [run.root, ...run.parents]) {
    const folder = new RunFolder(root).stageFolder('corpus');
    const done = readDone(folder);
    if (done !== null) return { folder, done };
  }
  return null;
}

/**
 * Commits of data sets on the Hub with which an attempt before began: an interrupted corpus goes on with these,
 * whatever their revisions mean today.
 */
function commitsBefore(run: RunFolder): Commits {
  const commits = readManifest(run.stage('corpus').own)?.attempts.at(-1)?.execution.commits;
  return commitsSchema.catch({}).parse(commits);
}

const commitsSchema = z.record(z.string(), z.string());
const count = z.int().nonnegative();
const summarySchema = z.object({
  splits: z.object({
    train: splitSummarySchema,
    validation: splitSummarySchema,
    test: splitSummarySchema,
  }),
  eos: z.object({ id: count, token: z.string() }),
  /** One more than the tokenizer's largest id. */
  vocabulary: count,
  /** Broken documents that were left out, where there were any. */
  skipped: skippedSchema.exactOptional(),
  /** Of data sets on the Hub, by their paths in the recipe. */
  commits: commitsSchema.exactOptional(),
});

/** @throws DataError where DONE does not hold what this stage writes. */
function summaryOf(done: Done): z.output<typeof summarySchema> {
  const result = summarySchema.safeParse(done.summary);
  if (result.success) return result.data;
  throw new DataError('The DONE file of the corpus is not as this program writes it.', {
    key: `summary.${result.error.issues[0]!.path.join('.')}`,
  });
}

/** What each split of a finished corpus holds. */
export function splitsOf(done: Done): Record<Split, SplitSummary> {
  return summaryOf(done).splits;
}

/** The end token of a finished corpus. */
export function endTokenOf(done: Done): number {
  return summaryOf(done).eos.id;
}

/** One more than the largest id of a finished corpus's tokenizer. */
export function vocabularyOf(done: Done): number {
  return summaryOf(done).vocabulary;
}

/** Opens a split of the corpus of a run; ids at or above the model's vocabulary are refused when read. */
export function openSplit(context: Pick<StageRun, 'run' | 'recipe'>, split: Split): TokenStore {
  const { run, recipe } = context;
  return TokenStore.open(run.stage('corpus').path(split), { vocabularySize: vocabularySize(recipe) });
}

async function build(
  context: StageRun,
  stage: StageContext,
  tokenizer: TextTokenizer,
  sources: CorpusInputs,
  experts: number,
): Promise<StageResult> {
  const { recipe, reporter, stop } = context;
  const {
    splits: built,
    labels,
    skipped,
  } = await buildStores({
    corpus: recipe.corpus,
    files: sources.files,
    tokenizer,
    folder: stage.folder,
    experts,
    threads: threadsFor(recipe.execution.threads, 1),
    stop,
    say: (text) => reporter.say(text),
    check: stage.assertOwned,
    progress: progressOf(reporter),
  });
  const copy = writeFileAtomic(stage.path(TOKENIZER), tokenizer.bytes, stage.assertOwned);
  const summary = summarySchema.parse({
    splits: built,
    eos: tokenizer.eos,
    vocabulary: tokenizer.largestId + 1,
    ...(skipped.documents > 0 && { skipped }),
    ...(Object.keys(sources.commits).length > 0 && { commits: sources.commits }),
  });
  const settings = corpusReads(recipe.corpus, sources, tokenizer);
  const description = { format: 1, ...summary, inputs: sources.hashes, settings };
  const json = writeJson(stage.path('corpus.json'), description, stage.assertOwned);
  sayResult(context, built);
  saySkipped(context, skipped);
  return {
    outputs: [
      ...SPLITS.flatMap((split) => built[split].files),
      ...(labels === null ? [] : [labels]),
      copy,
      json,
    ],
    hashes: {
      tokenizer: tokenizer.sha256,
      ...(labels !== null && { labels: labels.sha256 }),
      ...Object.fromEntries(
        SPLITS.map((split) => [split, hashJson(built[split].files.map((file) => file.sha256))]),
      ),
    },
    summary,
  };
}

function sayResult({ reporter }: StageRun, built: BuiltCorpus['splits']): void {
  const parts = SPLITS.map((split) => {
    const { documents, tokens, empty } = built[split];
    const left = empty === 0 ? '' : ` (${empty} without a token left out)`;
    return `${split} ${documents.toLocaleString('en')} documents, ${tokens.toLocaleString('en')} tokens${left}`;
  });
  reporter.say(`corpus: ${parts.join('; ')}`);
}

function saySkipped({ reporter }: StageRun, { documents, first }: SkippedDocuments): void {
  if (documents === 0) return;
  const lines = first.map(({ file, place, fault }) => `  ${file}, ${place}: ${fault}`);
  if (documents > first.length) lines.push(`  and ${documents - first.length} more`);
  reporter.say([`corpus: ${documents.toLocaleString('en')} broken documents left out`, ...lines].join('\n'));
}

/** The settings that the stores depend on; part of the key. The sources themselves are inputs, by content. */
function corpusReads(corpus: Recipe['corpus'], { reads }: CorpusInputs, tokenizer: TextTokenizer): Json {
  return {
    ...reads,
    holdout: {
      validation: corpus.validation === null ? corpus.holdout.validation : null,
      test: corpus.test === null ? corpus.holdout.test : null,
    },
    unit: corpus.unit,
    maxDocuments: corpus.maxDocuments,
    ...(corpus.labelField !== null && { labelField: corpus.labelField }),
    eos: tokenizer.eos.id,
  };
}

function vocabularySize(recipe: Recipe): number {
  const size = recipe.model.config.vocab_size;
  if (typeof size === 'number' && Number.isInteger(size) && size > 0) return size;
  throw new RequestError('The model has no vocabulary size.', {
    key: 'model.config.vocab_size',
    expected: 'a whole number',
  });
}

function requireVocabulary(tokenizer: TextTokenizer, recipe: Recipe): void {
  const size = vocabularySize(recipe);
  if (tokenizer.largestId < size) return;
  throw new RequestError("The tokenizer has ids outside the model's vocabulary.", {
    file: tokenizer.file,
    key: 'model.config.vocab_size',
    expected: `at least ${tokenizer.largestId + 1}`,
    found: String(size),
  });
}

/** The first `eos_token_id` of the model's config, if there is one. */
function configuredEnd(recipe: Recipe): number | null {
  const value = recipe.model.config.eos_token_id ?? null;
  const first: unknown = Array.isArray(value) ? value[0] : value;
  if (first === null || first === undefined) return null;
  if (typeof first === 'number' && Number.isInteger(first) && first >= 0) return first;
  throw new RequestError('The end token of the model is no token id.', {
    key: 'model.config.eos_token_id',
    found: JSON.stringify(value),
  });
}
