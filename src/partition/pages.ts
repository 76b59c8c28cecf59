/** partition/report.md and report.html: what the clusters are, for people. */
import { categoryColour, escapeHtml, htmlFigure, htmlPage, htmlSection } from '../report/html.js';
import { toMarkdown } from '../report/layout.js';
import { mapFigure, sizesFigure } from './figures.js';
import type { DocumentMap } from './map.js';
import type { Clusters } from './report.js';
import { grouped, headingOf, howMade, percent, reportSections, titleOf } from './report-sections.js';

/** The report as Markdown. */
export function reportMarkdown(report: Clusters): string {
  const [sizes, ...others] = reportSections(report, escapeMarkdown);
  return toMarkdown(headingOf(report), [{ ...sizes!, intro: escapeMarkdown(howMade(report)) }, ...others]);
}

/** Text of strangers within Markdown: shown as it is, on one line. Bars are the business of tables. */
function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*_{}[\]<>#&!~]/g, '\\$&').replace(/\s+/g, ' ');
}

/** The report as one HTML file. */
export async function reportHtml(report: Clusters, map: DocumentMap): Promise<string> {
  const [sizes, ...others] = reportSections(report, (text) => text).filter(
    ({ title }) => title !== 'Documents',
  );
  const heading = headingOf(report);
  return htmlPage(heading, [
    { html: `<h1>${escapeHtml(heading)}</h1><p class="faint">${escapeHtml(howMade(report))}</p>` },
    htmlSection(sizes!, { mark: categoryColour }),
    htmlFigure(
      await sizesFigure(report),
      'Tokens of each cluster. The line is the mean: what each would have if all were equal.',
    ),
    { html: '<h2>Map</h2>' },
    htmlFigure(await mapFigure(map), mapCaption(report, map)),
    ...others.map((section) => htmlSection(section)),
    { html: `<h2>Documents</h2><div class="cards">${report.clusters.map(card).join('\n')}</div>` },
  ]);
}

function mapCaption(report: Clusters, { documents, variance }: DocumentMap): string {
  const all = report.settings?.sample ?? report.documents;
  const shown =
    documents.length < all
      ? `${grouped(documents.length)} documents drawn at random`
      : `All ${grouped(documents.length)} documents`;
  return (
    `${shown}, by the two leading principal axes of their vectors, which hold ${percent(variance[0])} and ` +
    `${percent(variance[1])} of the variance; crosses are the centroids. Clusters that overlap here may still lie ` +
    'apart in the other dimensions.'
  );
}

function card(cluster: Clusters['clusters'][number]): string {
  const samples = cluster.samples.map(
    ({ document, text }) => `<li><span class="faint">${grouped(document)}</span> ${escapeHtml(text)}</li>`,
  );
  return [
    `<article class="card" style="--mark:${categoryColour(cluster.cluster)}">`,
    `<h3>${escapeHtml(titleOf(cluster))}</h3>`,
    `<p>${escapeHtml(cluster.terms.join(', '))}</p>`,
    `<ul>${samples.join('\n')}</ul>`,
    '</article>',
  ].join('\n');
}
