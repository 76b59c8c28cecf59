/** Figures as static SVG: Observable Plot, drawn on a document that no browser shows. */
import type { PlotOptions } from '@observablehq/plot';
import type { Html } from './html.js';

/** Draws a plot; `label` says what it shows to those who do not see it. */
export async function drawPlot(
  label: string,
  options: (plot: typeof import('@observablehq/plot')) => PlotOptions,
): Promise<Html> {
  // Only a report needs them, and loading them takes a third of a second.
  const [plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const figure = plot.plot({ ...options(plot), document, ariaLabel: label });
  figure.setAttribute('role', 'img');
  return { html: figure.outerHTML };
}
