import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { FromWorker } from '../../src/launch/messages.js';
import { barReporter, lineReporter, messageReporter } from '../../src/launch/reporter.js';

/** What a terminal shows after `text`: it knows line feeds, carriage returns, cursor up and clear to the end. */
function screenOf(text: string): string[] {
  const lines = [''];
  let row = 0;
  let column = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a terminal is told.
  for (const [part] of text.matchAll(/\x1b\[(\d*)[A-Zm]|[\s\S]/gi)) {
    const code = part.at(-1);
    if (part === '\n') {
      row += 1;
      column = 0;
      lines[row] ??= '';
    } else if (part === '\r') column = 0;
    else if (part.length > 1 && code === 'A') row -= Number(part.slice(2, -1));
    else if (part.length > 1 && code === 'J') {
      lines.length = row + 1;
      lines[row] = lines[row]!.slice(0, column);
    } else if (part.length === 1) {
      lines[row] = lines[row]!.slice(0, column) + part + lines[row]!.slice(column + 1);
      column += 1;
    }
  }
  return lines;
}

describe('plain lines', () => {
  it('shows beginning, end and what is said, and progress every ten seconds for each stage', () => {
    let clock = 0;
    let text = '';
    const reporter = lineReporter({ write: (part) => (text += part) }, () => clock);
    for (const stage of ['submodels/0', 'submodels/1']) reporter.started(stage, 'training');
    for (let step = 1; step <= 250; step++) {
      clock += 100;
      for (const stage of ['submodels/0', 'submodels/1'])
        reporter.progress({ stage, step, steps: 250, loss: 5 });
    }
    reporter.sayFrom('submodels/0', 'checkpoint written');
    reporter.sayFrom('submodels/1', 'submodels/1: checkpoint written');
    reporter.finished('submodels/0', 25);
    reporter.finished('submodels/1', null);
    expect(text.split('\n')).toEqual([
      'submodels/0: training',
      'submodels/1: training',
      'submodels/0: step 100/250 (40 %), loss 5.000',
      'submodels/1: step 100/250 (40 %), loss 5.000',
      'submodels/0: step 200/250 (80 %), loss 5.000',
      'submodels/1: step 200/250 (80 %), loss 5.000',
      'submodels/0: checkpoint written',
      'submodels/1: checkpoint written',
      'submodels/0: done in 25 s, loss 5.000',
      'submodels/1: was done already',
      '',
    ]);
  });

  it('keeps the last held-out loss while steps bring none', () => {
    let clock = 0;
    let text = '';
    const reporter = lineReporter({ write: (part) => (text += part) }, () => clock);
    reporter.progress({ stage: 'baseline', step: 1, steps: 9, heldOutLoss: 7.5 });
    clock = 20_000;
    reporter.progress({ stage: 'baseline', step: 2, steps: 9, loss: 7 });
    expect(text).toContain('step 2/9 (22 %), loss 7.000, held-out 7.500');
  });
});

describe('bars', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('keeps one line for each running stage below the lines that stay', () => {
    let text = '';
    const reporter = barReporter({ columns: 60, write: (part) => (text += part) });
    reporter.started('submodels/0', 'training');
    reporter.started('submodels/1', 'training');
    reporter.say('a line that stays');
    reporter.progress({
      stage: 'submodels/0',
      step: 5,
      steps: 10,
      loss: 6.5,
      note: 'much too long '.repeat(9),
    });
    vi.advanceTimersByTime(1000);
    expect(screenOf(text)).toEqual([
      'a line that stays',
      'submodels/0 ██████████░░░░░░░░░░ 5/10 50 %  much too long m',
      'submodels/1 training',
    ]);
    reporter.finished('submodels/0', 3);
    expect(screenOf(text)).toEqual([
      'a line that stays',
      'submodels/0: done in 3.0 s, loss 6.500',
      'submodels/1 training',
    ]);
    reporter.failed('submodels/1');
    reporter.close();
    expect(screenOf(text)).toEqual(['a line that stays', 'submodels/0: done in 3.0 s, loss 6.500', '']);
  });

  it('draws a few times a second however often it is told', () => {
    let writes = 0;
    const reporter = barReporter({ columns: 60, write: () => (writes += 1) });
    for (let step = 0; step < 1000; step++) {
      reporter.progress({ stage: 'baseline', step, steps: 1000 });
      vi.advanceTimersByTime(1);
    }
    expect(writes).toBeGreaterThan(5);
    expect(writes).toBeLessThan(10);
  });
});

describe('messages to the supervisor', () => {
  it('sends ten a second, and always the last step', () => {
    let clock = 0;
    const sent: FromWorker[] = [];
    const reporter = messageReporter(
      (message) => sent.push(message),
      () => clock,
    );
    for (let step = 1; step <= 100; step++) {
      clock += 20;
      reporter.progress({ stage: 'merged', step, steps: 100 });
    }
    reporter.say('merged');
    expect(sent).toHaveLength(22);
    expect(sent.at(-2)).toEqual({ type: 'progress', progress: { stage: 'merged', step: 100, steps: 100 } });
    expect(sent.at(-1)).toEqual({ type: 'say', text: 'merged' });
  });
});
