import { describe, expect, it } from 'vitest';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks } from './leaks.js';

expectNoLeaks();

describe('data in and out', () => {
  it.each([
    ['float32', new Float32Array([1.5, -2])],
    ['float64', new Float64Array([1e300, 2])],
    ['int64', new BigInt64Array([2n ** 62n, -1n])],
    ['int32', new Int32Array([7, -8])],
    ['int16', new Int16Array([7, -8])],
    ['int8', new Int8Array([7, -8])],
    ['uint8', new Uint8Array([7, 255])],
  ] as const)('%s round trip', (dtype, data) => {
    using x = torch.tensor(data, [2, 1]);
    expect(x.dtype).toBe(dtype);
    expect(x.shape).toEqual([2, 1]);
    expect(x.toArray()).toEqual(data);
  });

  it('plain numbers are float32 unless a dtype is given; bfloat16 reads back as float32', () => {
    torch.scope(() => {
      expect(torch.tensor([1, 2]).dtype).toBe('float32');
      expect(torch.tensor([1, 2], [2], { dtype: 'int64' }).toArray()).toEqual(new BigInt64Array([1n, 2n]));
      const half = torch.tensor([1, 1 / 3], [2], { dtype: 'bfloat16' });
      expect(half.toArray()).toEqual(new Float32Array([1, 0.333984375]));
      expect(half.bytes().length).toBe(4);
    });
  });

  it('reads views in row-major order and byte ranges of contiguous tensors', () => {
    torch.scope(() => {
      const x = torch.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
      expect(x.t().toNumbers()).toEqual([1, 4, 2, 5, 3, 6]);
      const into = new Uint8Array(8);
      x.readBytes(4, into);
      expect([...new Float32Array(into.buffer)]).toEqual([2, 3]);
      x.writeBytes(20, new Uint8Array(new Float32Array([-6]).buffer));
      expect(x.toNumbers()).toEqual([1, 2, 3, 4, 5, -6]);
      expect(() => x.readBytes(20, into)).toThrow(torch.TorchValueError);
      expect(() => x.t().readBytes(0, into)).toThrow(/contiguous/);
    });
  });

  it('refuses a shape that does not fit its data', () => {
    expect(() => torch.tensor([1, 2, 3], [2, 2])).toThrow(torch.TorchValueError);
    expect(() => torch.tensor([1], [-1])).toThrow(torch.TorchValueError);
    expect(() => torch.tensor([1], [2 ** 40, 2 ** 40])).toThrow(/too large/);
  });
});

describe('numbers in arithmetic', () => {
  it('take the kind of the tensor they meet', () => {
    torch.scope(() => {
      const i = torch.tensor([1, 2], [2], { dtype: 'int64' });
      expect(i.add(2).dtype).toBe('int64');
      expect(i.mul(0.5).dtype).toBe('float32');
      expect(torch.tensor([1, 2]).add(2).toNumbers()).toEqual([3, 4]);
      expect(i.eq(2).toNumbers()).toEqual([0, 1]);
    });
  });

  it('options are those of the schema', () => {
    torch.scope(() => {
      const x = torch.tensor([1, 2, 3, 4], [2, 2]);
      expect(x.sum(1, { keepdim: true }).shape).toEqual([2, 1]);
      expect(x.sum().item()).toBe(10);
      expect(x.sum([0, 1], { dtype: 'float64' }).dtype).toBe('float64');
      expect(x.add(x, { alpha: -1 }).toNumbers()).toEqual([0, 0, 0, 0]);
      const [values, indices] = x.topk(1);
      expect([values.toNumbers(), indices.toNumbers()]).toEqual([
        [2, 4],
        [1, 1],
      ]);
      expect(torch.cat([x, x], { dim: 1 }).shape).toEqual([2, 4]);
      expect(x.add_(1)).toBe(x);
      expect(x.toNumbers()).toEqual([2, 3, 4, 5]);
    });
  });
});

describe('errors', () => {
  it('are of named classes with the operator and its shapes', () => {
    torch.scope(() => {
      const x = torch.zeros([2, 3]);
      expect(() => x.mm(x)).toThrow(torch.TorchError);
      expect(() => x.mm(x)).toThrow(/aten::mm\(self: float\[2, 3\], mat2: float\[2, 3\]\)/);
      expect(() => x.select(5, 0)).toThrow(torch.TorchIndexError);
      const index = torch.tensor([2], [1], { dtype: 'int64' });
      expect(() => x.indexSelect(0, index)).toThrow(torch.TorchIndexError);
      expect(() => x.view([1.5])).toThrow(torch.TorchTypeError);
      expect(() => torch.empty([2 ** 50])).toThrow(torch.OutOfMemoryError);
    });
  });

  it('a freed tensor is an error, also when its slot is in use again', () => {
    const x = torch.zeros([1]);
    x.dispose();
    x.dispose();
    using y = torch.ones([1]);
    expect(() => x.add(y)).toThrow(/freed/);
    expect(() => y.add(x)).toThrow(/freed/);
    expect(y.item()).toBe(1);
  });
});

describe('scope', () => {
  it('frees what is not returned and hands what is to the enclosing scope', () => {
    torch.scope(() => {
      const outside = torch.liveTensors();
      const { kept } = torch.scope(() => ({ kept: [torch.ones([1]).add(1)], n: 1 }));
      expect(torch.liveTensors()).toBe(outside + 1);
      expect(kept[0]!.item()).toBe(2);
    });
  });

  it('frees when the body throws, and refuses asynchronous bodies', () => {
    const before = torch.liveTensors();
    expect(() =>
      torch.scope(() => {
        torch.ones([1]);
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(() => torch.scope(async () => torch.ones([1]))).toThrow(/asynchronous/);
    expect(torch.liveTensors()).toBe(before);
  });
});

describe('autograd', () => {
  it('accumulates in place into a gradient that is a view of other memory', () => {
    torch.scope(() => {
      const flat = torch.zeros([4]);
      const weight = torch.tensor([1, 2]).requiresGrad_();
      weight.grad = flat.narrow(0, 1, 2);
      for (let i = 0; i < 2; i++) torch.backward([weight.square().sum()]);
      expect(flat.toNumbers()).toEqual([0, 4, 8, 0]);
      expect(() => {
        weight.grad = torch.zeros([3]);
      }).toThrow(/shape/);
    });
  });

  it('survives freeing the handles of the forward pass', () => {
    torch.scope(() => {
      const x = torch.tensor([3]).requiresGrad_();
      const loss = torch.scope(() => x.mul(x).mul(x));
      torch.backward([loss], [torch.tensor([2])]);
      expect(x.grad!.item()).toBe(54);
      const [unused] = torch.grad([x.mul(2)], [torch.ones([1]).requiresGrad_()], [torch.ones([1])], {
        allowUnused: true,
      });
      expect(unused).toBeNull();
    });
  });

  it('noGrad restores the mode, also after an error', () => {
    torch.scope(() => {
      const x = torch.ones([1]).requiresGrad_();
      expect(torch.noGrad(() => x.mul(2)).requiresGrad).toBe(false);
      expect(() => torch.noGrad(() => x.mm(x))).toThrow();
      expect(x.mul(2).requiresGrad).toBe(true);
    });
  });
});

describe('runtime', () => {
  it('random numbers follow from the seed and the state', () => {
    torch.scope(() => {
      torch.manualSeed(7);
      const state = torch.getRngState();
      const a = torch.rand([3]).toNumbers();
      torch.setRngState(state);
      expect(torch.rand([3]).toNumbers()).toEqual(a);
      torch.manualSeed(7);
      expect(torch.rand([3]).toNumbers()).toEqual(a);
    });
  });

  it('threads, deterministic mode, version, accelerator', () => {
    const threads = torch.getNumThreads();
    torch.setNumThreads(1);
    expect(torch.getNumThreads()).toBe(1);
    torch.setNumThreads(threads);
    torch.setDeterministic(true);
    expect(torch.isDeterministic()).toBe(true);
    torch.setDeterministic(false);
    expect(torch.version()).toMatch(/^2\.\d+\.\d+/);
    const found = torch.accelerator();
    if (found !== null) expect(found.count).toBeGreaterThan(0);
    expect(() => torch.memoryStatistics('cpu')).toThrow(/statistics/);
  });

  it('the fused AdamW refuses lists that do not belong together instead of reading past them', () => {
    torch.scope(() => {
      const [p, g, step] = [torch.ones([4]), torch.ones([2]), torch.zeros([])];
      const options = {
        lr: 1,
        beta1: 0.9,
        beta2: 0.99,
        weightDecay: 0,
        eps: 1e-8,
        amsgrad: false,
        maximize: false,
      };
      expect(() => torch.fusedAdamw_([p], [g], [p], [p], [], [step], options)).toThrow(/grads/);
      expect(() => torch.fusedAdamw_([p], [], [p], [p], [], [step], options)).toThrow(/grads/);
      expect(() => torch.fusedAdamw_([p], [p], [p], [p], [], [], options)).toThrow(/state_steps/);
    });
  });
});
