import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeProgram } from '../../src/cli/program.js';
import { describeError } from '../../src/errors.js';
import { disco } from './spawn.js';

const folder = mkdtempSync(join(tmpdir(), 'disco-cli-'));
const before = process.cwd();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Parses in this process and gives the error's text; what commander prints is the same and left out. */
async function refusal(args: readonly string[]): Promise<string> {
  return makeProgram()
    .parseAsync(args, { from: 'user' })
    .then(
      () => 'not refused',
      (error: unknown) => describeError(error),
    );
}

describe.concurrent('the real command', () => {
  it('explains itself: every command in its group, exit codes, examples', async () => {
    const { status, stdout, stderr } = await disco(['--help']);
    expect(status).toBe(0);
    expect(stderr).toBe('');
    const commands =
      'demo run check fork corpus partition init train merge finetune baseline evaluate compare verify setup';
    const places = commands.split(' ').map((name) => stdout.search(new RegExp(`^  ${name} .*\\w{3}`, 'm')));
    expect(places.every((place) => place > 0)).toBe(true);
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(stdout).toContain('75 stopped and saved, run me again');
    expect(stdout).not.toContain('worker ');
  });

  it('refuses a mistyped option with status 2 and without a stack', async () => {
    const { status, stdout, stderr } = await disco(['run', 'tiny', '--intoo', 'x'], { cwd: folder });
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toBe("error: unknown option '--intoo'\n(Did you mean --into?)\n(--help tells more)\n");
  });

  it('refuses a mistyped recipe key with status 2 and makes nothing', async () => {
    const { status, stderr } = await disco(['run', 'tiny', 'train.batchsize=8'], { cwd: folder });
    expect(status).toBe(2);
    expect(stderr).toContain('did you mean train.batchSize?');
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(existsSync(join(folder, 'runs'))).toBe(false);
  });

  it('checks a shipped recipe from any folder, with overrides', async () => {
    const { status, stdout, stderr } = await disco(['check', 'recipes/tiny.yaml', 'train.batchSize=8'], {
      cwd: folder,
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toContain('287,200 parameters');
    expect(stdout).toContain('20 steps, 5.1k tokens');
    expect(stdout).toMatch(/Projection \(nothing of it is measured\)/);
  });

  it('names the files that a recipe lacks, after what can be said without them', async () => {
    const { status, stdout, stderr } = await disco(['check', 'paper-qwen-c4'], { cwd: folder });
    expect(status).toBe(2);
    expect(stdout).toContain('2,686,420,992 parameters');
    expect(stdout).toContain('c4-train.00000-of-01024.json.gz: on the Hub, not looked at');
    expect(stderr).toContain('corpus.tokenizer: no such file');
  });
});

describe('refusals', () => {
  beforeEach(() => {
    process.chdir(folder);
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  });
  afterEach(() => {
    vi.restoreAllMocks();
    process.chdir(before);
  });

  it.each([
    { args: ['rn', 'tiny'], says: 'Did you mean run?' },
    { args: ['train', 'x', '--exprt', '1'], says: 'Did you mean --expert?' },
    { args: ['run'], says: "missing required argument 'recipe'" },
    { args: ['run', 'tiny', '--devices', 'gpu'], says: 'Expected cpu, cuda:N' },
    { args: ['partition', 'x', '--device', 'cuda:'], says: 'Expected cpu, cuda:N' },
    { args: ['setup', '--device', 'tpu'], says: 'Allowed choices are cpu, cuda, auto' },
    { args: ['verify'], says: "missing required argument 'run'" },
    { args: ['verify', 'a', 'b'], says: 'too many arguments' },
    { args: ['run', 'tiny', 'train.batchSize=many'], says: 'train.batchSize' },
    { args: ['run', 'tiny', 'batch'], says: 'key.path=value' },
    { args: ['run', 'no-such-recipe'], says: 'no such recipe' },
    { args: ['corpus', 'no-such-run'], says: 'no-such-run is not a run folder' },
    { args: ['verify', 'no-such-run'], says: 'no-such-run is not a run folder' },
    { args: ['fork', 'no-such-run', 'new', 'seed=1'], says: 'no-such-run is not a run folder' },
    { args: ['corpus', 'no-such-run', 'seed=1'], says: '--recipe' },
    { args: ['worker', 'no-such-run'], says: 'A worker is started by the run' },
  ])('$args', async ({ args, says }) => {
    expect(await refusal(args)).toContain(says);
    for (const made of ['runs', 'no-such-run', 'new']) expect(existsSync(join(folder, made))).toBe(false);
  });

  it('says what train reads from the environment', () => {
    const train = makeProgram().commands.find((command) => command.name() === 'train');
    expect(train?.helpInformation().replace(/\s+/g, ' ')).toContain(
      'DISCO_EXPERT, SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX, SKYPILOT_JOB_RANK in this order',
    );
  });
});
