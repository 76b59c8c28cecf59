import { describe, expect, it } from 'vitest';
import { RequestError } from '../../src/errors.js';
import { expertNumber } from '../../src/launch/expert.js';

const ALL = {
  DISCO_EXPERT: '1',
  SLURM_ARRAY_TASK_ID: '2',
  JOB_COMPLETION_INDEX: '3',
  SKYPILOT_JOB_RANK: '0',
};

describe('the number of the expert', () => {
  it('comes from the flag, then from the environment in the stated order', () => {
    const { DISCO_EXPERT: _a, ...slurm } = ALL;
    const { SLURM_ARRAY_TASK_ID: _b, ...kubernetes } = slurm;
    const { JOB_COMPLETION_INDEX: _c, ...sky } = kubernetes;
    expect(expertNumber('0', ALL, 4)).toBe(0);
    expect(expertNumber(undefined, ALL, 4)).toBe(1);
    expect(expertNumber(undefined, slurm, 4)).toBe(2);
    expect(expertNumber(undefined, kubernetes, 4)).toBe(3);
    expect(expertNumber(undefined, sky, 4)).toBe(0);
    expect(expertNumber(undefined, {}, 4)).toBeNull();
  });

  it('passes over a variable that is set to nothing', () => {
    expect(expertNumber(undefined, { DISCO_EXPERT: '', SLURM_ARRAY_TASK_ID: '2' }, 4)).toBe(2);
  });

  it.each(['4', '-1', '1.5', 'two', '0x1', '', '99999999999999999999'])('refuses --expert %j', (flag) => {
    expect(() => expertNumber(flag, {}, 4)).toThrow(RequestError);
  });

  it('names the variable that holds a wrong number', () => {
    const wrong = () => expertNumber(undefined, { JOB_COMPLETION_INDEX: '9' }, 4);
    expect(wrong).toThrow(
      expect.objectContaining({ key: 'JOB_COMPLETION_INDEX', found: '9', exitStatus: 2 }),
    );
  });
});
