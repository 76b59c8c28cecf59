/** The figures of the report. */
import { categoryColour, type Html } from '../report/html.js';
import { drawPlot } from '../report/plot.js';
import type { DocumentMap } from './map.js';
import type { Clusters } from './report.js';

const WIDTH = 820;
const STYLE = { fontSize: '13px' };

/** Documents and centroids on the two leading principal axes, coloured by cluster: Figure 8 of the paper. */
export function mapFigure({ documents, centroids, variance }: DocumentMap): Promise<Html> {
  const share = (part: number): string => `${(100 * part).toFixed(1)} %`;
  return drawPlot('Map of the documents, coloured by cluster', (plot) => ({
    width: WIDTH,
    style: STYLE,
    height: 560,
    marginLeft: 55,
    marginBottom: 45,
    x: { label: `first axis (${share(variance[0])})`, ticks: 6 },
    y: { label: `second axis (${share(variance[1])})`, ticks: 6 },
    marks: [
      plot.ruleX([0], { strokeOpacity: 0.15 }),
      plot.ruleY([0], { strokeOpacity: 0.15 }),
      plot.dot(
        documents.map((point) => ({ ...point, x: rounded(point.x), y: rounded(point.y) })),
        {
          x: 'x',
          y: 'y',
          fill: (point: { cluster: number }) => categoryColour(point.cluster),
          r: 2.6,
          fillOpacity: 0.6,
        },
      ),
      plot.dot(centroids, {
        x: 'x',
        y: 'y',
        symbol: 'cross',
        r: 9,
        fill: (point: { cluster: number }) => categoryColour(point.cluster),
        stroke: 'var(--ground)',
        strokeWidth: 1.5,
      }),
      plot.text(centroids, {
        x: 'x',
        y: 'y',
        text: (point: { cluster: number }) => String(point.cluster),
        dy: -19,
        fontSize: 15,
        fontWeight: 700,
        fill: 'currentColor',
        stroke: 'var(--ground)',
        strokeWidth: 4,
      }),
    ],
  }));
}

/** Tokens of the clusters as bars, and their mean as a line. */
export function sizesFigure({ clusters, tokens }: Clusters): Promise<Html> {
  const mean = tokens / clusters.length;
  return drawPlot('Tokens of each cluster', (plot) => ({
    width: WIDTH,
    style: STYLE,
    height: 60 + 26 * clusters.length,
    marginLeft: 90,
    marginBottom: 40,
    x: { label: 'tokens', grid: true, ticks: 6, tickFormat: '~s' },
    y: {
      label: null,
      domain: clusters.map(({ cluster }) => cluster),
      tickFormat: (k: number) => `cluster ${k}`,
    },
    marks: [
      plot.barX(clusters, {
        x: 'tokens',
        y: 'cluster',
        fill: (one: { cluster: number }) => categoryColour(one.cluster),
      }),
      plot.ruleX([mean], { stroke: 'currentColor', strokeWidth: 1.5, strokeDasharray: '4 3' }),
    ],
  }));
}

/** Three digits are more than a screen shows. */
const rounded = (value: number): number => Number(value.toPrecision(4));
