// What a simulated day was like, as a table by the hour and as a picture: what far lacked, what the primary's sidefile held, and what was set aside.

import { readFileSync, writeFileSync } from 'node:fs';

import type { DayLook, DayResult } from '../../src/sim/day.ts';

const PAGE = new URL('../../docs/internals/sidefile-day.md', import.meta.url);

const MIB = 1024 * 1024;
const MINUTES = 60;

const WIDTH = 900;
const HEIGHT = 200;
const LEFT = 44;
const TOP = 22;
const POINTS_MAX = 288;

const mib = (bytes: number): string => (bytes / MIB).toFixed(1);
const most = (looks: readonly DayLook[], of: (look: DayLook) => number): number => Math.max(...looks.map(of));
const least = (looks: readonly DayLook[], of: (look: DayLook) => number): number => Math.min(...looks.map(of));
const sum = (looks: readonly DayLook[], of: (look: DayLook) => number): number => looks.reduce((total, look) => total + of(look), 0);

function dayName({ options }: DayResult): string {
  return `${options.guide}-${options.overflow}`;
}

/** One line for each hour. */
export function dayTable({ looks, options }: DayResult): string {
  const head = ['hour', 'written', 'link down, min', 'far lacks', 'primary holds', 'near holds', 'set aside', 'covered, min'];
  const rows = [head, head.map(() => '---')];
  for (let at = 0; at < looks.length; at += MINUTES) {
    const hour = looks.slice(at, at + MINUTES);
    rows.push([
      String((options.fromHour + at / MINUTES) % 24),
      mib(sum(hour, ({ writtenBytes }) => writtenBytes)),
      String(sum(hour, ({ linkUp }) => (linkUp ? 0 : 1))),
      mib(most(hour, ({ lackingBytes }) => lackingBytes)),
      mib(most(hour, ({ heldBytes }) => heldBytes)),
      mib(most(hour, ({ nearHeldBytes }) => nearHeldBytes)),
      `${mib(least(hour, ({ setAsideBytes }) => setAsideBytes))} to ${mib(most(hour, ({ setAsideBytes }) => setAsideBytes))}`,
      String(sum(hour, ({ coverage }) => (coverage === 'ready' ? 1 : 0))),
    ]);
  }
  return rows.map((row) => `| ${row.join(' | ')} |`).join('\n');
}

/** The day in a sentence or two. */
export function daySummary(result: DayResult): string {
  const { options, looks, outages, uncovered, grown, shrunk, turnsMax, heldMax, setAsideMax, writes, withheld, events } = result;
  const ready = sum(looks, ({ coverage }) => (coverage === 'ready' ? 1 : 0));
  return (
    `guide "${options.guide}", overflow "${options.overflow}": ${writes} writes, ${withheld} more withheld; ${outages} outages, ${uncovered} of them ` +
    `more than the sidefile covers; covered in ${ready} of ${looks.length} minutes; the largest sidefile ${mib(heldMax)} MiB; set aside ` +
    `at most ${mib(setAsideMax)} MiB, grown ${grown} times and shrunk ${shrunk} times at all sites, at most ${turnsMax} changes of direction in an hour; ` +
    `${events} events`
  );
}

/** An SVG of the day. */
function dayPicture(result: DayResult): string {
  const { looks, options } = result;
  const each = Math.max(1, Math.ceil(looks.length / POINTS_MAX));
  const points: DayLook[][] = [];
  for (let at = 0; at < looks.length; at += each) points.push(looks.slice(at, at + each));
  // What far lacks goes far beyond what could be kept for it: there it leaves the picture.
  const top = options.mostBytes * 1.3;
  const x = (index: number): string => (LEFT + (index * WIDTH) / points.length).toFixed(1).replace(/\.0$/, '');
  const y = (bytes: number): string => (TOP + HEIGHT - (Math.min(bytes, top) / top) * HEIGHT).toFixed(1).replace(/\.0$/, '');
  const line = (of: (look: DayLook) => number): string => points.map((point, index) => `${x(index)},${y(most(point, of))}`).join(' ');
  const bars = (isIt: (look: DayLook) => boolean, from: number, height: number, color: string): string[] => {
    const list: string[] = [];
    for (let index = 0; index < points.length; index++) {
      if (!(points[index] as DayLook[]).some(isIt)) continue;
      const begin = index;
      while (index + 1 < points.length && (points[index + 1] as DayLook[]).some(isIt)) index++;
      list.push(
        `<rect x="${x(begin)}" y="${from}" width="${(Number(x(index + 1)) - Number(x(begin))).toFixed(1)}" height="${height}" fill="${color}"/>`,
      );
    }
    return list;
  };
  const hours = looks.length / MINUTES;
  const step = hours > 6 ? 3 : hours / 6;
  const texts: string[] = [];
  for (let hour = 0; hour <= hours; hour += step)
    texts.push(
      `<text x="${(LEFT + (hour / hours) * WIDTH).toFixed(1)}" y="${TOP + HEIGHT + 24}" text-anchor="middle">${((options.fromHour + hour) % 24).toFixed(step < 1 ? 1 : 0)} h</text>`,
    );
  const bound = y(options.mostBytes);
  const poly = (of: (look: DayLook) => number, color: string): string =>
    `<polyline fill="none" stroke="${color}" stroke-width="1.3" points="${line(of)}"/>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${LEFT + WIDTH + 16} ${TOP + HEIGHT + 32}" font-family="sans-serif" font-size="11" fill="#333">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    ...bars((look) => !look.linkUp, TOP, HEIGHT, '#f8dcdc'),
    ...bars((look) => look.coverage !== 'ready', TOP + HEIGHT + 2, 6, '#c33'),
    `<path d="M${LEFT} ${bound}h${WIDTH}" stroke="#888" stroke-dasharray="5 4"/><text x="2" y="${Number(bound) + 4}">${options.mostBytes / MIB} MiB</text>`,
    `<path d="M${LEFT} ${TOP}v${HEIGHT}h${WIDTH}" fill="none" stroke="#888"/>`,
    poly(({ setAsideBytes }) => setAsideBytes, '#d80'),
    poly(({ lackingBytes }) => lackingBytes, '#888'),
    poly(({ heldBytes }) => heldBytes, '#06c'),
    `<text x="${LEFT}" y="14">guide ${options.guide}, overflow ${options.overflow}: <tspan fill="#d80">set aside</tspan>, <tspan fill="#06c">held by the primary</tspan>, <tspan fill="#777">lacking at far</tspan> (cut off above); light red: link down; red below: far not covered</text>`,
    ...texts,
    '</svg>',
    '',
  ].join('\n');
}

/** Puts the days into their page, with the pictures beside it. */
export function writeDays(results: readonly DayResult[]): void {
  const parts = results.map((result) => {
    const name = dayName(result);
    writeFileSync(new URL(`sidefile-day-${name}.svg`, PAGE), dayPicture(result));
    const { guide, overflow } = result.options;
    return [`### Guide "${guide}", overflow "${overflow}"`, `![${name}](sidefile-day-${name}.svg)`, dayTable(result)];
  });
  const summaries = results.map((result) => `- ${daySummary(result)}.`).join('\n');
  const text = readFileSync(PAGE, 'utf8').replace(
    /(<!-- day -->\n)[^]*(\n<!-- end of day -->)/,
    (_all, begin: string, end: string) => `${begin}\n${[summaries, ...parts.flat()].join('\n\n')}\n${end}`,
  );
  writeFileSync(PAGE, text);
}
