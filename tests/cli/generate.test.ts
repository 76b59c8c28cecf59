import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeProgram } from '../../src/cli/program.js';
import { type DiscoError, describeError } from '../../src/errors.js';
import { generateTokens } from '../../src/generate/tokens.js';
import { Decoder } from '../../src/model/decoder.js';
import { openModel } from '../../src/model/open.js';
import { families, type GoldenText, goldenJson, modelWithTokenizer, textOf } from '../generate/golden.js';
import { disco, start, until } from './spawn.js';

const family = families.at(-2)!;
const { cases } = goldenJson<{ cases: GoldenText[] }>(`${family}/expected.json`);
const [, golden] = cases as [GoldenText, GoldenText];
const prompt = textOf(golden.prompt);

async function refusal(...args: string[]): Promise<string> {
  return makeProgram()
    .parseAsync(['generate', ...args], { from: 'user' })
    .then(
      () => 'not refused',
      (error: DiscoError) => `${error.exitStatus ?? ''} ${describeError(error)}`,
    );
}

describe('the command', () => {
  it("prints the text of transformers' tokens, greedily, and nothing else on standard output", async () => {
    const folder = modelWithTokenizer(family);
    const args = ['generate', folder, '--max-tokens', '24', '--prompt'];
    const [given, piped] = await Promise.all([
      disco([...args, prompt]),
      disco([...args, '-'], { input: `${prompt}\n` }),
    ]);
    expect(given).toMatchObject({ status: 0, stdout: `${textOf(golden.tokens)}\n` });
    expect(given.stderr).toMatch(/6 prompt tokens in [\d.]+ s; 24 tokens, stopped at --max-tokens/);
    expect(piped).toMatchObject({ status: 0, stdout: given.stdout });
  });

  it('stops at an end token of generation_config.json, which is not printed', async () => {
    const { eos, tokens } = cases.at(-1)!;
    const folder = modelWithTokenizer(family);
    writeFileSync(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [eos, 96] }));
    const { status, stdout, stderr } = await disco(['generate', folder, '--prompt', prompt]);
    expect({ status, stdout }).toEqual({ status: 0, stdout: `${textOf(tokens)}\n` });
    expect(stderr).toContain(`${tokens.length} tokens, stopped at the end token`);
  });

  it('draws as its options say', async () => {
    const folder = modelWithTokenizer(family);
    const options = ['--temperature', '2', '--top-k', '9', '--top-p', '0.8', '--seed', '5'];
    const store = openModel(folder);
    const sampling = { temperature: 2, topK: 9, topP: 0.8 };
    const request = { prompt: golden.prompt, maxTokens: 30, eos: [], sampling, seed: 5 };
    const expected = textOf([...generateTokens(new Decoder(store), request)]);
    store.dispose();
    const args = ['generate', folder, '--prompt', prompt, '--max-tokens', '30', ...options];
    expect(await disco(args)).toMatchObject({ status: 0, stdout: `${expected}\n` });
  });

  it('SIGINT ends it after a whole line, with status 75', async () => {
    const folder = modelWithTokenizer(family, { max_position_embeddings: 1_000_000 });
    const running = start(['generate', folder, '--prompt', 'ab', '--max-tokens', '900000']);
    let text = '';
    running.child.stdout!.on('data', (piece: string) => {
      text += piece;
    });
    await until(() => text.length > 20, 'text');
    running.child.kill('SIGINT');
    const { status, stdout, stderr } = await running.outcome;
    expect(status).toBe(75);
    expect(stdout).toMatch(/[^\n]\n$/);
    expect(stderr).toContain('Stopped (SIGINT) after');
  });

  it('ends when nobody reads any more', async () => {
    const folder = modelWithTokenizer(family, { max_position_embeddings: 1_000_000 });
    const running = start(['generate', folder, '--prompt', 'ab', '--max-tokens', '900000']);
    await new Promise((resolve) => running.child.stdout!.once('data', resolve));
    running.child.stdout!.destroy();
    expect((await running.outcome).status).toBe(75);
  });
});

describe('refused before anything is loaded', () => {
  it.each([
    ['--max-tokens', '0'],
    ['--max-tokens', '1.5'],
    ['--max-tokens', 'many'],
    ['--temperature', '-1'],
    ['--temperature', 'NaN'],
    ['--temperature', '1e999'],
    ['--top-p', '0'],
    ['--top-p', '1.1'],
    ['--top-k', '-3'],
    ['--seed', '1e300'],
    ['--device', 'gpu'],
  ])('%s %s', async (option, value) => {
    expect(await refusal('nowhere', '--prompt', 'x', option, value)).toMatch(/option '--.* is invalid/);
  });

  it('no prompt', async () => {
    expect(await refusal('nowhere')).toContain('--prompt');
  });

  it('temperature 0 with what would have no effect', async () => {
    expect(await refusal('nowhere', '--prompt', 'x', '--temperature', '0', '--top-p', '0.9')).toMatch(
      /^2 .*temperature 0/,
    );
  });

  it('no model: the models of a run are named', async () => {
    expect(await refusal('/nowhere', '--prompt', 'x')).toMatch(/^2 There is no model(.|\n)*nothing there/);
    const model = modelWithTokenizer(family);
    expect(await refusal(dirname(model), '--prompt', 'x')).toContain(`choose one: ${model}`);
    expect(await refusal(join(model, 'config.json'), '--prompt', 'x')).toContain('a file');
  });

  it('no tokenizer, or one of another model', async () => {
    const folder = modelWithTokenizer(family);
    for (const name of ['vocab.json', 'merges.txt']) rmSync(join(folder, name));
    expect(await refusal(folder, '--prompt', 'x')).toMatch(/^2 .*no tokenizer(.|\n)*qwen.tiktoken/);
    const shipped = new URL('../../data/tokenizer/bpe-4096.json', import.meta.url).pathname;
    const other = await refusal(folder, '--tokenizer', shipped, '--prompt', 'the history of it');
    expect(other).toMatch(/^2 .*outside the model's vocabulary(.|\n)*below 97/);
  });

  it('a prompt that is empty, or that fills all positions', async () => {
    const folder = modelWithTokenizer(family, { bos_token_id: null });
    expect(await refusal(folder, '--prompt', '')).toMatch(/^2 The prompt is empty/);
    expect(await refusal(folder, '--prompt', 'a'.repeat(64))).toMatch(
      /^2 (.|\n)*fewer than 64(.|\n)*64 tokens/,
    );
  });
});
