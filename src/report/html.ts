/** A report as one HTML file that needs nothing else: no script, no font, no image from elsewhere; dark and light. */
import { type Section, standsLeft } from './layout.js';

/** HTML that is ready, as against text that is still to be escaped. */
export interface Html {
  html: string;
}

/** Colours of categories, readable on dark and on light ground; more categories begin again. */
const CATEGORY_COLOURS = [
  '#4269d0',
  '#d9790f',
  '#c94a5f',
  '#2f9e8f',
  '#3f8f3f',
  '#a463f2',
  '#97723c',
  '#e27cab',
  '#6f8fae',
  '#8a8f2a',
] as const;

/** The colour of category `k`. */
export function categoryColour(k: number): string {
  return CATEGORY_COLOURS[k % CATEGORY_COLOURS.length]!;
}

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text for content and attributes of HTML. Control characters, which no HTML may hold, become U+FFFD. */
export function escapeHtml(text: string): string {
  return text
    .replace(/[&<>"']/g, (character) => ENTITIES[character]!)
    .replace(/[^\P{Cc}\t\n]|\p{Surrogate}/gu, '�')
    .replace(/[\u202a-\u202e\u2066-\u2069]/g, '');
}

/** A narrow screen has no room for a last column of text. */
const STYLE = `
:root { color-scheme: light dark; --ground: #fff; --text: #1d2128; --faint: #666f7c; --line: #dfe3e8; --card: #f6f7f9;
  --plot-background: transparent; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171c; --text: #e4e7ec; --faint: #98a1ae; --line: #2e343d;
  --card: #1c2027; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 72rem; background: var(--ground);
  color: var(--text); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; } p { margin: .5rem 0; max-width: 48rem; } .faint { color: var(--faint); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 20rem; }
th { font-weight: 600; color: var(--faint); font-size: .875rem; vertical-align: bottom; }
th, td { text-align: right; padding: .35rem 1rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  white-space: nowrap; }
th.left, td.left { text-align: left; white-space: normal; overflow-wrap: break-word; min-width: 5rem; }
td.left:last-child { min-width: 16rem; }
figure { margin: .8rem 0; overflow-x: auto; }
figure svg { width: 100%; min-width: 34rem; max-width: 60rem; height: auto; color: var(--text); }
figcaption { color: var(--faint); font-size: .875rem; max-width: 48rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
.card { background: var(--card); border-radius: .5rem; padding: 1rem 1.2rem; border-left: .3rem solid var(--mark); }
.card ul { margin: .6rem 0 0; padding: 0; list-style: none; font-size: .9rem; } .card li { margin: .45rem 0; }
.mark { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em; }
@media (max-width: 44rem) { .left:last-child:not(:first-child) { display: none; } }
@media print { .card { break-inside: avoid; } }
`;

/** A whole page. */
export function htmlPage(title: string, body: readonly Html[]): string {
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    // Whatever a document of the corpus holds: nothing is loaded and nothing runs.
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    `<title>${escapeHtml(title)}</title>`,
    `<style>${STYLE}</style>`,
    '</head>',
    '<body>',
    ...body.map(({ html }) => html),
    '</body>',
    '</html>',
    '',
  ].join('\n');
}

/** A section of a report. `mark` gives each row of its table a colour. */
export function htmlSection(
  { title, intro, table, notes, list }: Section,
  options: { mark?: (row: number) => string } = {},
): Html {
  const parts = [`<h2>${escapeHtml(title)}</h2>`];
  if (intro !== undefined) parts.push(`<p>${escapeHtml(intro)}</p>`);
  if (table !== undefined) parts.push(htmlTable(table, options.mark));
  const texts = (notes ?? []).map(escapeHtml);
  if (list === true) parts.push(`<ul>${texts.map((text) => `<li>${text}</li>`).join('')}</ul>`);
  else parts.push(...texts.map((text) => `<p class="faint">${text}</p>`));
  return { html: `<section>${parts.join('\n')}</section>` };
}

function htmlTable(table: NonNullable<Section['table']>, mark?: (row: number) => string): string {
  const cell = (tag: string, text: string, column: number, before = ''): string =>
    `<${tag}${standsLeft(table, column) ? ' class="left"' : ''}>${before}${escapeHtml(text)}</${tag}>`;
  const dot = (row: number): string =>
    mark === undefined ? '' : `<span class="mark" style="background:${escapeHtml(mark(row))}"></span>`;
  const head = table.head.map((text, i) => cell('th', text, i)).join('');
  const rows = table.rows.map(
    (row, r) => `<tr>${row.map((text, i) => cell('td', text, i, i === 0 ? dot(r) : '')).join('')}</tr>`,
  );
  return `<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${rows.join('\n')}</tbody></table></div>`;
}

/** A figure with what it shows in words. */
export function htmlFigure(svg: Html, caption: string): Html {
  return { html: `<figure>${svg.html}<figcaption>${escapeHtml(caption)}</figcaption></figure>` };
}
