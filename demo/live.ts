// The live picture: drawn anew each second at a terminal; elsewhere one line for each change.

import type { Cluster } from './cluster.ts';
import { KEYS_TEXT } from './keys.ts';
import type { Scene } from './picture.ts';
import { changeLine, tableLines, throughputLine, troubleLines } from './picture.ts';
import { observe } from './scene.ts';

export interface LiveOptions {
  /** Ends the picture. */
  readonly signal: AbortSignal;
  /** How processes ended that are gone, by name; others add to it. */
  readonly endings: ReadonlyMap<string, string>;
  /** How to attach to a site. */
  readonly attachLines: (site: string) => readonly string[];
}

const PERIOD_MILLIS = 1_000;
const HOME = '\x1b[H';
const CLEAR = '\x1b[2J';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
const BOLD = '\x1b[1m';
const PLAIN = '\x1b[0m';

/** Shows the cluster until the signal. */
export async function showLive(cluster: Cluster, options: LiveOptions): Promise<void> {
  const { signal, endings } = options;
  const view: View = process.stdout.isTTY ? new TerminalView(cluster, options) : new LineView(cluster, options);
  let before: Scene | null = null;
  while (!signal.aborted) {
    const scene = await observe(cluster, endings);
    view.show(scene, before);
    before = scene;
    await nextPeriod(signal);
  }
}

interface View {
  show(scene: Scene, before: Scene | null): void;
}

/** Resolves after a period, or at the signal. */
function nextPeriod(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, PERIOD_MILLIS);
    signal.addEventListener('abort', end);
  });
}

function servingName(scene: Scene, cluster: Cluster): string {
  const serving = scene.sites.find((site) => site.status?.serving === true);
  return serving?.name ?? cluster.layout.sites[0]?.name ?? '';
}

/** Draws over what it drew before. */
class TerminalView implements View {
  readonly #cluster: Cluster;
  readonly #options: LiveOptions;
  readonly #begun = performance.now();
  #isFirst = true;

  constructor(cluster: Cluster, options: LiveOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  show(scene: Scene, before: Scene | null): void {
    const { layout } = this.#cluster;
    const seconds = Math.round((scene.atMillis - this.#begun) / 1000);
    const site = servingName(scene, this.#cluster);
    const lines = [
      `${BOLD}Tercet${PLAIN}  group ${layout.group}, volume ${layout.volume}, data in ${layout.folder}, ${seconds} s; Ctrl-C ends it`,
      '',
      ...tableLines(scene).map((line, index) => (index === 0 ? `${BOLD}${line}${PLAIN}` : line)),
      '',
      throughputLine(before, scene),
      '',
      ...troubleLines(scene),
      ...[...this.#options.endings].map(([name, ending]) => `${name} ended by itself (${ending}); its log is in the data folder`),
      `attach (${site}):`,
      ...this.#options.attachLines(site).map((line) => `  ${line}`),
      '',
      KEYS_TEXT,
    ];
    const columns = process.stdout.columns;
    const drawn = lines.map((line) => `${fit(line, columns)}${CLEAR_LINE}`).join('\n');
    process.stdout.write(`${this.#isFirst ? CLEAR : ''}${HOME}${drawn}\n${CLEAR_BELOW}`);
    this.#isFirst = false;
  }
}

/** A line that is wider than the terminal would make the picture grow; those with colours are short. */
function fit(line: string, columns: number): string {
  return line.includes('\x1b') || line.startsWith('  ') ? line : line.slice(0, columns);
}

/** Prints what has changed. */
class LineView implements View {
  readonly #cluster: Cluster;
  readonly #options: LiveOptions;
  readonly #begun = performance.now();
  #told = '';
  #attachTold = false;

  constructor(cluster: Cluster, options: LiveOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  show(scene: Scene): void {
    if (!this.#attachTold) {
      const site = servingName(scene, this.#cluster);
      console.log(['attach with one of:', ...this.#options.attachLines(site).map((line) => `  ${line}`)].join('\n'));
      this.#attachTold = true;
    }
    const line = changeLine(scene);
    if (line === this.#told) return;
    this.#told = line;
    console.log(`${((scene.atMillis - this.#begun) / 1000).toFixed(1).padStart(6)} s  ${line}`);
  }
}
