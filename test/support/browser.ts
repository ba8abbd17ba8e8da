// A browser without a window, told what to do over its own protocol: opens pages, waits for what they show, runs a line of script in them, and takes
// pictures. It belongs to one test and ends with it.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { until } from '../../demo/waiting.ts';

const START_MILLIS = 60_000;
const SHOW_MILLIS = 30_000;
/** Everything that would leave this machine, ask for a graphics card or for rights that a test has not, is off. */
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-extensions',
  '--hide-scrollbars',
  '--remote-debugging-port=0',
  'about:blank',
];

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message: string };
}

/** How a page is looked at. */
export interface Look {
  readonly width: number;
  readonly height: number;
  readonly dark: boolean;
  /** `forced`: the system's few colours in place of the page's. `none`: as somebody sees it who sees no colours. */
  readonly colours?: 'forced' | 'none';
}

/** One page in the browser. */
export class Browser {
  /** What went wrong in the page: errors, refused contents, failed requests. */
  readonly faults: string[] = [];
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #socket: WebSocket;
  readonly #asked = new Map<number, (message: Message) => void>();
  #number = 0;

  /** Starts it. Fails when there is none that starts in time. */
  static async open(): Promise<Browser> {
    const folder = mkdtempSync(join(tmpdir(), 'tercet-browser-'));
    const child = spawn('chromium', [`--user-data-dir=${folder}`, ...FLAGS], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (part: Buffer) => (said = (said + part.toString('utf8')).slice(-20_000)));
    const port = await until(
      'the browser has started',
      START_MILLIS,
      async () => {
        if (child.exitCode !== null) throw new Error(`the browser ended with ${child.exitCode}: ${said}`);
        return /DevTools listening on ws:\/\/127\.0\.0\.1:([0-9]+)\//.exec(said)?.[1] ?? null;
      },
      () => said,
    );
    const pages = (await (await fetch(`http://127.0.0.1:${port}/json`)).json()) as { type: string; webSocketDebuggerUrl: string }[];
    const page = pages.find(({ type }) => type === 'page');
    assert.ok(page, 'the browser has no page');
    const socket = new WebSocket(page.webSocketDebuggerUrl);
    await once(socket, 'open');
    const browser = new Browser(child, folder, socket);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await browser.#ask(`${domain}.enable`);
    return browser;
  }

  private constructor(child: ChildProcess, folder: string, socket: WebSocket) {
    this.#child = child;
    this.#folder = folder;
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => this.#heard(JSON.parse(String(data)) as Message));
  }

  async close(): Promise<void> {
    this.#socket.close();
    const ended = this.#child.exitCode === null ? once(this.#child, 'exit') : null;
    this.#child.kill('SIGKILL');
    await ended;
    // Its helpers may still be writing.
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  async look({ width, height, dark, colours }: Look): Promise<void> {
    await this.#ask('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 600 });
    const features = [
      { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' },
      { name: 'forced-colors', value: colours === 'forced' ? 'active' : 'none' },
    ];
    await this.#ask('Emulation.setEmulatedMedia', { features });
    await this.#ask('Emulation.setEmulatedVisionDeficiency', { type: colours === 'none' ? 'achromatopsia' : 'none' });
  }

  async goTo(url: string): Promise<void> {
    const { errorText } = await this.#ask('Page.navigate', { url });
    assert.equal(errorText, undefined, `${url}: ${String(errorText)}`);
  }

  /** The value of an expression in the page. */
  async value<Value>(expression: string): Promise<Value> {
    const answer = await this.#ask('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    assert.equal(answer['exceptionDetails'], undefined, `${expression}: ${JSON.stringify(answer['exceptionDetails'])}`);
    return (answer['result'] as { value: Value }).value;
  }

  /** Waits until an expression in the page is true; one that fails, as before the page is there, is not. */
  async shows(what: string, expression: string): Promise<void> {
    await until(
      what,
      SHOW_MILLIS,
      async () =>
        (await this.value<boolean>(`(() => { try { return Boolean(${expression}); } catch { return false; } })()`)) ? true : null,
      () => this.faults.join('; '),
    );
  }

  /** A picture of the page, as PNG: of what the window shows, or of all of it. */
  async picture(whole: boolean): Promise<Uint8Array> {
    const { data } = await this.#ask('Page.captureScreenshot', { format: 'png', captureBeyondViewport: whole });
    return Buffer.from(String(data), 'base64');
  }

  async #ask(method: string, params: object = {}): Promise<Readonly<Record<string, unknown>>> {
    const id = ++this.#number;
    const answer = await new Promise<Message>((resolve) => {
      this.#asked.set(id, resolve);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
    assert.equal(answer.error, undefined, `${method}: ${answer.error?.message ?? ''}`);
    return answer.result ?? {};
  }

  #heard(message: Message): void {
    if (message.id !== undefined) {
      this.#asked.get(message.id)?.(message);
      this.#asked.delete(message.id);
      return;
    }
    const { method, params } = message;
    if (method === 'Runtime.exceptionThrown') this.faults.push(JSON.stringify(params?.['exceptionDetails']));
    if (method !== 'Log.entryAdded') return;
    const entry = params?.['entry'] as { level: string; text: string; url?: string };
    if (entry.level === 'error') this.faults.push(`${entry.text} ${entry.url ?? ''}`);
  }
}
