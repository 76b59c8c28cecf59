/** Data sets in all their layouts, and what is refused. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DataError } from '../../src/errors.js';
import { parseCsv } from '../../src/evaluate/data/csv.js';
import { EvalData } from '../../src/evaluate/data/eval-data.js';
import { makeQuestions } from '../../src/evaluate/tasks/prompts.js';
import { selectTasks } from '../../src/evaluate/tasks/registry.js';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'eval-data-'));
});
afterAll(() => rmSync(root, { recursive: true }));

const SHIPPED = fileURLToPath(new URL('../../data/eval/', import.meta.url));

function put(path: string, content: string | Uint8Array): void {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

const lines = (...rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

async function questionsOf(name: string, folder: string, shots = 0) {
  const [task] = selectTasks([name]).tasks;
  const made = await makeQuestions(task!, new EvalData([join(root, folder)]), { shots, seed: 1234 });
  return made.questions;
}

describe('CSV', () => {
  it('keeps commas, quotes and line ends in quotes, and quotes within a plain field', () => {
    const text = '\ufeff"a, ""b""\r\nc",5" long,\r\n\r\nx,"",z';
    expect(parseCsv(text, 'f', 3)).toEqual([
      { fields: ['a, "b"\r\nc', '5" long', ''], line: 1 },
      { fields: ['x', '', 'z'], line: 4 },
    ]);
  });

  it.each([
    ['a,b\n"c,d\n', 'line 2', /not closed/],
    ['a,b\n"c"d,e\n', 'line 2', /behind a closing quote/],
    ['a,b\nc\n', 'line 2', /number of fields/],
  ])('refuses %j', (text, key, message) => {
    expect(() => parseCsv(text, 'f', 2)).toThrow(
      expect.objectContaining({ key, message: expect.stringMatching(message) }),
    );
  });
});

describe('layouts', () => {
  it("reads ARC's own files and the Hub's rows alike", async () => {
    const choices = [
      { text: 'x', label: '1' },
      { text: 'y', label: '2' },
    ];
    put(
      'own/arc-easy/ARC-Easy-Test.jsonl',
      lines({ id: 'a', question: { stem: 'Q', choices }, answerKey: '2' }),
    );
    put(
      'own/arc-easy/ARC-Challenge-Test.jsonl',
      lines({ id: 'b', question: { stem: 'no', choices }, answerKey: '1' }),
    );
    const hub = { id: 'a', question: 'Q', choices: { text: ['x', 'y'], label: ['1', '2'] }, answerKey: '2' };
    put('hub/arc_easy/test-00000.jsonl.gz', gzipSync(lines(hub)));
    const own = await questionsOf('arc_easy', 'own');
    expect(own).toEqual(await questionsOf('arc_easy', 'hub'));
    expect(own).toHaveLength(1);
    expect(own[0]).toMatchObject({ context: 'Question: Q\nAnswer:', continuations: [' x', ' y'] });
    expect(own[0]!.example.gold).toBe(1);
  });

  it('joins PIQA with its labels, and refuses labels that are not as many', async () => {
    const row = { goal: 'g', sol1: 'a', sol2: 'b' };
    put('piqa/valid.jsonl', lines(row, row));
    put('piqa/valid-labels.lst', '1\n0\n');
    expect((await questionsOf('piqa', '.')).map((one) => one.example.gold)).toEqual([1, 0]);
    put('short/piqa/valid.jsonl', lines(row, row));
    put('short/piqa/valid-labels.lst', '1\n');
    await expect(questionsOf('piqa', 'short')).rejects.toThrow(/as many labels/);
  });

  it("reads MMLU's headerless CSV by subject and takes the first examples", async () => {
    const row = (question: string, answer: string) => `${question},one,two,three,four,${answer}\n`;
    put('mmlu/test/virology_test.csv', row('"T, 1"', 'C'));
    put('mmlu/test/anatomy_test.csv', row('other', 'A'));
    put('mmlu/dev/virology_dev.csv', row('D1', 'A') + row('D2', 'B') + row('D3', 'C'));
    const [question] = await questionsOf('mmlu_virology', '.', 2);
    expect(question!.context).toBe(
      'The following are multiple choice questions (with answers) about virology.\n\n' +
        'D1\nA. one\nB. two\nC. three\nD. four\nAnswer: A\n\n' +
        'D2\nA. one\nB. two\nC. three\nD. four\nAnswer: B\n\n' +
        'T, 1\nA. one\nB. two\nC. three\nD. four\nAnswer:',
    );
    expect(question!.example.gold).toBe(2);
  });

  it("makes HellaSwag's prompts from the original's fields", async () => {
    const row = {
      activity_label: 'Making tea',
      ctx_a: ' A cup. [title] Boil [substeps] water.',
      ctx_b: 'THE Man',
      endings: ['pours  it.', '[x] waits.'],
      label: '1',
      ind: 3,
    };
    put('hellaswag/hellaswag_val.jsonl', lines(row));
    const [question] = await questionsOf('hellaswag', '.');
    expect(question).toMatchObject({
      context: 'Making tea: A cup.. Boil water. The man',
      continuations: [' pours it.', '  waits.'],
    });
  });

  it('cuts LAMBADA before its last word, and counts WikiText before its marks are undone', async () => {
    put('lambada/test.jsonl', lines({ text: 'one two three' }));
    const [word] = await questionsOf('lambada_openai', '.');
    expect(word).toMatchObject({ context: 'one two', continuations: [' three'] });
    const page = ' = A = \n\n it @-@ is ( 1 @,@ 000 ) " so " , then . \n';
    put('wikitext/wikitext-2-raw-v1/test.jsonl', lines({ page }));
    const [text] = await questionsOf('wikitext', '.');
    expect(text!.continuations).toEqual([' = A =\n\nit-is (1,000) "so", then. \n'.replace('. \n', '.\n')]);
    expect(text!.example.original).toBe(page);
  });
});

describe('what is not here', () => {
  it('says where to get it', async () => {
    const missing = questionsOf('lambada_openai', 'nothing');
    await expect(missing).rejects.toThrow(DataError);
    await expect(missing).rejects.toMatchObject({
      hint: expect.stringContaining('EleutherAI/lambada_openai'),
    });
  });

  it('does not take the files of one set for those of another', async () => {
    await expect(questionsOf('piqa', 'own')).rejects.toThrow(/piqa is not here/);
  });

  it('names line and field of a row that is not as it should be', async () => {
    put('bad/piqa/valid.jsonl', lines({ goal: 'g', sol1: 'a', sol2: 'b', label: 2 }));
    await expect(questionsOf('piqa', 'bad')).rejects.toMatchObject({ key: 'line 1, label' });
    put('worse/piqa/valid.parquet', 'PAR1 no');
    await expect(questionsOf('piqa', 'worse')).rejects.toThrow(DataError);
  });

  it('refuses more shots than there are examples', async () => {
    put('few/piqa/valid.jsonl', lines({ goal: 'g', sol1: 'a', sol2: 'b', label: 0 }));
    put('few/piqa/train.jsonl', lines({ goal: 'h', sol1: 'a', sol2: 'b', label: 0 }));
    await expect(questionsOf('piqa', 'few', 1)).rejects.toMatchObject({ expected: 'at most 0' });
  });
});

it('ships four data sets whole', async () => {
  const data = new EvalData([SHIPPED]);
  const count = async (name: string) => {
    const { tasks } = selectTasks([name]);
    const totals = await Promise.all(tasks.map((task) => makeQuestions(task, data, { shots: 0, seed: 1 })));
    return totals.reduce((sum, { total }) => sum + total, 0);
  };
  expect(await count('arc_easy')).toBe(2376);
  expect(await count('piqa')).toBe(1838);
  expect(await count('hellaswag')).toBe(1000);
  expect(await count('mmlu')).toBe(14_042);
});
