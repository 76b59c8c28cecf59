/** docs/paper-costs.md: the paper's Table 3 computed again, at other prices and against its missing rival. */
import { bill } from '../cost/bill.js';
import { type PaperRow, paperErrata, paperPrices, paperRows } from '../cost/paper-tables.js';
import { toMarkdown } from './layout.js';

/** Dollars an hour of a 4090 and an A100 (80 GB): the paper's, and two rental listings. */
const PRICES = [paperPrices, { cheap: 0.45, large: 1.2 }, { cheap: 0.68, large: 1.17 }];
/** Stated dense bfloat16 peaks, TFLOP/s: A100 over RTX 4090. */
const PEAK_RATIO = 312 / 165;

const hoursOf = ({ submodel, finetune, fullParameter }: PaperRow) => ({
  experts: 4,
  submodel: submodel.hours,
  finetune: finetune.hours,
  fullParameter: fullParameter.hours,
});

/** The text of docs/paper-costs.md. */
export function paperCosts(): string {
  const rows = paperRows.map((row) => {
    const ours = bill(hoursOf(row), paperPrices);
    return { name: `${row.model}, ${row.data}`, row, ours };
  });
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return toMarkdown("The paper's costs, computed again", [
    {
      title: 'Table 3',
      intro:
        "Hours are the paper's. S$ = 4 c t_S, F$ = l t_F, full$ = l t_full, with c = $0.35 an hour (RTX 4090) and " +
        'l = $2.28 (A100, 80 GB); time in all = t_S + t_F.',
      table: {
        head: [
          '',
          'full-parameter',
          'S-phase',
          'F-phase',
          'MoE-DisCo in all',
          'hours in all',
          'saving',
          'printed',
        ],
        rows: rows.map(({ name, row, ours }) => [
          name,
          `$${ours.fullParameterDollars.toFixed(4)}`,
          `$${ours.submodelDollars.toFixed(4)}`,
          `$${ours.finetuneDollars.toFixed(4)}`,
          `$${ours.totalDollars.toFixed(4)}`,
          ours.totalHours.toFixed(2),
          percent(ours.saving),
          `${row.printedSaving.toFixed(1)} %`,
        ]),
      },
    },
    { title: 'Errata', notes: [...paperErrata], list: true },
    {
      title: 'The saving is mostly the price ratio',
      intro: 'The same hours at other prices, and the price ratio at which both ways cost the same.',
      table: {
        head: [
          '',
          ...PRICES.map(({ cheap, large }) => `${cheap} / ${large.toFixed(2)} dollars`),
          'equal cost at',
        ],
        rows: rows.map(({ name, row, ours }) => [
          name,
          ...PRICES.map((prices) => percent(bill(hoursOf(row), prices).saving)),
          `${ours.equalCostRatio?.toFixed(2) ?? '-'} : 1`,
        ]),
      },
    },
    {
      title: 'The rival that Table 3 does not show',
      intro:
        'The whole Qwen model at E = 4 fits one 24 GB card when the optimizer steps inside the backward pass. Projected: ' +
        'full-parameter training on one RTX 4090 at equal utilisation of stated peaks (165 and 312 TFLOP/s).',
      table: {
        head: ['', 'one 4090', 'with recomputation', 'MoE-DisCo'],
        rows: rows
          .filter(({ row }) => row.model === 'Qwen')
          .map(({ name, row, ours }) => {
            const dollars = row.fullParameter.hours * PEAK_RATIO * paperPrices.cheap;
            return [name, dollars, (dollars * 4) / 3, ours.totalDollars].map((value) =>
              typeof value === 'number' ? `$${value.toFixed(2)}` : value,
            );
          }),
      },
    },
  ]);
}
