import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { DataError, RequestError } from '../../src/errors.js';
import { collect, recipeOf } from '../../src/report/collect.js';
import { type Comparison, compare } from '../../src/report/comparison.js';
import { toText, wrap } from '../../src/report/layout.js';
import { paperCosts } from '../../src/report/paper.js';
import { sections } from '../../src/report/sections.js';
import { compareRuns } from '../../src/report/several.js';
import { compareRun } from '../../src/report/stage.js';
import { comparisonText } from '../../src/report/text.js';
import { large, money, significant, time } from '../../src/report/words.js';
import type { StageRun } from '../../src/run/context.js';
import type { RunFolder } from '../../src/run/folder.js';
import { makeRun } from './run-fixture.js';

const root = mkdtempSync(join(tmpdir(), 'disco-report-'));
const seconds = { submodel: 60, finetune: 65, baseline: 180 };
let better: RunFolder;
let worse: RunFolder;
let made: Comparison;

beforeAll(async () => {
  better = await makeRun(join(root, 'better'), { finetuned: 3.98, baseline: 4.02, seconds });
  worse = await makeRun(join(root, 'worse'), {
    overrides: ['partition.method=random'],
    finetuned: 4.5,
    baseline: 4.02,
    seconds: { ...seconds, submodel: 10 },
  });
  made = compare(collect(better));
});

function stageRun(run: RunFolder): StageRun {
  return {
    run,
    recipe: recipeOf(run),
    reporter: { progress: () => {}, say: () => {} },
    stop: { requested: false, reason: '' },
    device: 'cpu',
  };
}

describe('comparison of one run', () => {
  it('counts both arms by one rule', () => {
    // Held-out curves are to + (from - to) (1 - step / steps)^2, every 50 steps. Baseline 8.3 to 4.02 in 2,000, at
    // + 0.02: (1 - s/2000)^2 <= 0.02 / 4.28 from s = 1863 on; fine-tuning 5.2 to 3.98 in 700: 0.06 / 1.22 from 545 on.
    const [exact, second] = made.targets.validation;
    expect([exact!.baseline.steps, exact!.finetune.steps]).toEqual([2000, 600]);
    expect([second!.baseline.steps, second!.finetune.steps]).toEqual([1900, 550]);
    expect(second!.finetune.target).toBeCloseTo(4.04, 12);
    expect(made.targets.window).toBe(50);
    expect(made.targets.training?.finetune.steps).toBeGreaterThan(500);
  });

  it('bills everything at one rate, S-phase included', () => {
    const { disco, fullParameter, submodels, extra } = made.measured;
    expect(disco.seconds).toBe(4 + 1 + 4 * 60 + 65);
    expect(disco.dollars).toBeCloseTo((310 / 3600) * 0.1, 12);
    expect(fullParameter.dollars).toBeCloseTo((180 / 3600) * 0.1, 12);
    expect([submodels.steps, submodels.tokens, extra.tokens]).toEqual([2800, 2800 * 1024, 0]);
    const [exact] = made.targets.validation;
    const step = fullParameter.flops / 2000;
    expect(exact!.totalFlopsRatio).toBeCloseTo((submodels.flops + 600 * step) / fullParameter.flops, 12);
  });

  it('has the rows of Tables 1 and 6', () => {
    expect(made.table1.fullParameter.steps).toBe(2000);
    // Both perplexities are those of the curves: one and the same text.
    expect(made.table1.fullParameter.perplexity).toBeCloseTo(Math.exp(4.02), 6);
    expect(made.table1.disco).toMatchObject({ steps: 600, horizon: 700 });
    expect(made.table1.disco.perplexity).toBeCloseTo(Math.exp(3.98 + 1.22 / 49), 6);
    expect(made.table6).toEqual({ maxSteps: 700, maxSeconds: 60 });
  });

  it('says who won and at what total cost', () => {
    expect(made.verdict[0]).toContain('better model for 1.72 times the money');
    expect(made.verdict[1]).toContain('lower loss');
    expect(made.verdict[2]).toContain('600 of its 700 steps');
    const lost = compare(collect(worse));
    expect(lost.verdict[0]).toContain('Not below the interpolated bigram model');
    expect(lost.verdict[1]).toContain('the worse model for 0.611 times the money');
    expect(lost.verdict[3]).toContain('did not reach');
    expect(lost.leavesOut.join(' ')).toContain('k-means partition');
  });

  it('tells no difference where the interval holds 0', async () => {
    const input = collect(better);
    const { baseline } = input.evaluation.perDocument.test;
    const shaken = baseline.map(([nats, tokens], i): [number, number] => [
      nats + (i % 2 === 0 ? 9 : -9),
      tokens,
    ]);
    const perDocument = { ...input.evaluation.perDocument, test: { finetuned: shaken, baseline } };
    const even = compare({ ...input, evaluation: { ...input.evaluation, perDocument } });
    expect(even.verdict[0]).toContain('as good a model');
    expect(even.verdict[1]).toContain('no difference can be told');
  });

  it('gives no interval over a handful of documents', () => {
    const input = collect(better);
    const few = (list: [number, number][]) => list.slice(0, 9);
    const { finetuned, baseline } = input.evaluation.perDocument.test;
    const perDocument = {
      ...input.evaluation.perDocument,
      test: { finetuned: few(finetuned), baseline: few(baseline) },
    };
    const made = compare({ ...input, evaluation: { ...input.evaluation, perDocument } });
    expect(made.verdict[0]).toContain('as good a model');
    expect(made.verdict[1]).toContain('no difference can be told');
    expect(made.verdict[1]).toContain('9 documents are too few for an interval');
  });

  it('counts a seed phase for the MoE-DisCo way, and says what the baseline starts from', async () => {
    const overrides = ['train.seed.steps=100', 'train.seed.model=submodel'];
    const seeded = compare(
      collect(await makeRun(join(root, 'seeded'), { finetuned: 3.98, baseline: 4.02, seconds, overrides })),
    );
    const { seed, submodels, finetune, extra, disco, fullParameter } = seeded.measured;
    const perStep = submodels.flops / submodels.steps;
    expect(seed).toMatchObject({ steps: 100, tokens: 100 * 1024, seconds: 30 });
    expect(seed!.flops).toBeCloseTo(100 * perStep, 0);
    for (const key of ['steps', 'tokens', 'flops', 'seconds', 'dollars'] as const) {
      expect(disco[key]).toBeCloseTo(extra[key] + seed![key] + submodels[key] + finetune[key], 6);
    }
    expect(disco.flops - made.measured.disco.flops).toBeCloseTo(seed!.flops, 0);
    expect(fullParameter).toEqual(made.measured.fullParameter);
    expect(seeded.projection.table3.totalDollars).toBeGreaterThan(made.projection.table3.totalDollars);
    const row = (one: Comparison) => one.targets.validation[0]!.totalFlopsRatio!;
    expect(row(seeded) - row(made)).toBeCloseTo(seed!.flops / fullParameter.flops, 10);
    expect(seeded.leavesOut.join(' ')).toContain('starts from the initial weights');
    expect(made.leavesOut.join(' ')).not.toContain('initial weights');
    expect(sections(seeded).map(({ table }) => table?.rows.map(([name]) => name))).toContainEqual(
      expect.arrayContaining(['seed phase', 'MoE-DisCo in all']),
    );
  });

  it('keeps projected numbers in a part of their own', () => {
    const { projection, measured } = made;
    expect(projection.projection).toBe(true);
    expect(projection.fullParameterOnCheapCard.fits).toBe(true);
    expect(measured.disco.flops).toBeCloseTo(
      projection.flops.submodels.reduce((a, b) => a + b, 0) + projection.flops.finetune,
      0,
    );
    const titles = sections(made).map(({ title }) => title);
    expect(titles.filter((title) => title.startsWith('PROJECTION'))).toHaveLength(1);
  });

  it('fits 100 columns, and a pipe gets no colours', () => {
    const text = comparisonText([better.root]);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
    expect(text).not.toContain('\u001b');
    expect(toText(sections(made), true)).toContain('\u001b[1m');
    expect(text).toContain('better: what came out');
  });
});

describe('the stage', () => {
  it('writes comparison.json and report.md once', async () => {
    const done = await compareRun(stageRun(better));
    const json = JSON.parse(readFileSync(better.path('comparison', 'comparison.json'), 'utf8'));
    expect(json).toEqual(JSON.parse(JSON.stringify(made)));
    expect(json.id).toMatch(/^[0-9a-f]{64}$/);
    const report = readFileSync(better.path('comparison', 'report.md'), 'utf8');
    expect(report).toContain('## PROJECTION');
    expect(report).toContain('| MoE-DisCo in all |');
    expect(await compareRun(stageRun(better))).toEqual(done);
  });

  it('names the stage that is missing, and a file that is not what it should be', async () => {
    const run = await makeRun(join(root, 'cut'), { finetuned: 4, baseline: 4, seconds });
    writeFileSync(run.path('evaluation', 'evaluation.json'), '{"format": 1}');
    expect(() => collect(run)).toThrow(DataError);
    rmSync(run.path('baseline', 'DONE'));
    try {
      collect(run);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(RequestError);
      expect((error as RequestError).message).toContain('baseline');
    }
  });
});

describe('several runs', () => {
  it('stand side by side, and against the first', () => {
    const rows = compareRuns([better, worse]);
    expect(rows[0]!.againstFirst).toBeNull();
    expect(rows[1]!.againstFirst?.difference).toBeCloseTo(0.52, 6);
    const text = comparisonText([better.root, worse.root]);
    expect(text).toMatch(/worse\s+4, top-2\s+random/);
    expect(text).toContain('not reached');
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  it('are not set against each other where the test documents differ', async () => {
    const other = await makeRun(join(root, 'other'), { finetuned: 4, baseline: 4, seconds });
    const file = other.path('evaluation', 'evaluation.json');
    const evaluation = JSON.parse(readFileSync(file, 'utf8'));
    for (const list of Object.values(evaluation.perDocument.test)) (list as unknown[]).pop();
    writeFileSync(file, JSON.stringify(evaluation));
    const rows = compareRuns([better, other]);
    expect(rows[1]).toMatchObject({ againstFirst: null });
    expect(comparisonText([better.root, other.root])).toContain('losses do not compare');
  });
});

it('numbers in words', () => {
  expect([time(0.0561), time(65), time(13_752), time(59.7)]).toEqual([
    '0.056 s',
    '1 min 05 s',
    '3.82 h',
    '1 min 00 s',
  ]);
  expect([money(6.8704), money(0.0086), money(0.0000216), money(0), money(-2)]).toEqual([
    '$6.87',
    '$0.0086',
    '$0.000022',
    '$0.00',
    '-$2.00',
  ]);
  expect([large(999), large(1640_000), large(18.76e12), large(999_900)]).toEqual([
    '999',
    '1.64 M',
    '18.8 T',
    '1.00 M',
  ]);
  expect([significant(0.0996, 2), significant(1234, 2), significant(9.996, 3)]).toEqual([
    '0.10',
    '1200',
    '10.0',
  ]);
  expect(wrap('a bb ccc', 6, '  ')).toEqual(['  a bb', '  ccc']);
});

it('docs/paper-costs.md is what the tables say (npx tsx scripts/paper-costs.ts)', () => {
  const text = paperCosts();
  expect(readFileSync(new URL('../../docs/paper-costs.md', import.meta.url), 'utf8')).toBe(text);
  expect(text).toContain('| Qwen, C4 | $6.53 | $8.71 | $6.87 |');
});
