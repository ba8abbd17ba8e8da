// `tercet attach` as a process of its own, beside a cluster of a test.

import assert from 'node:assert/strict';
import { join } from 'node:path';

import { Daemon, type Ending, endingText } from '../../demo/daemon.ts';
import { BlockLedger } from '../../demo/ledger.ts';
import { nbdUri } from '../../demo/layout.ts';
import { NbdClient, NbdConnectionError } from '../../demo/nbd-client.ts';
import { Workload } from '../../demo/workload.ts';
import type { Address } from '../../src/api/address.ts';
import type { TestCluster, TestLoad } from './cluster.ts';

export interface AttachedOptions {
  readonly hold?: string;
  readonly name?: string;
  readonly wanted?: boolean;
  readonly flags?: readonly string[];
  /** What its clients are told at first; default: the size of the volume. */
  readonly sizeBytes?: number;
}

/** An attachment that runs. It is ended with the cluster. */
export class Attached {
  readonly daemon: Daemon;
  readonly address: Address;
  readonly uri: string;
  readonly #test: TestCluster;
  readonly #sizeBytes: number;

  static async open(test: TestCluster, options: AttachedOptions = {}): Promise<Attached> {
    const attached = new Attached(test, options);
    await attached.daemon.start();
    test.onClose(async () => {
      await attached.daemon.kill();
    });
    return attached;
  }

  private constructor(test: TestCluster, options: AttachedOptions) {
    const { hold = '30', name = 'attach', wanted = false, flags = [] } = options;
    this.#test = test;
    this.#sizeBytes = options.sizeBytes ?? test.layout.sizeBytes;
    const path = join(test.layout.folder, `${name}.sock`);
    this.address = { kind: 'unix', path, text: `unix:${path}` };
    this.uri = nbdUri(test.layout, this.address);
    this.daemon = new Daemon({
      name,
      args: ['src/cli/main.ts', 'attach', test.exportName, '--config', test.layout.configFile, '--socket', path, '--hold', hold, ...flags],
      log: join(test.layout.folder, `${name}.log`),
      ownGroup: false,
      isReady: () => this.#answers(),
      died: (ending: Ending) => {
        if (!wanted) test.deaths.push(`${name} (${endingText(ending)}):\n${this.daemon.logTail()}`);
      },
    });
  }

  /** A host that writes through it and must never see an error or an end: those are in `faults`. */
  load(options: { depth?: number; flushEvery?: number; blockCount?: number } = {}): TestLoad & { readonly faults: string[] } {
    const { depth = 8, flushEvery = 50, blockCount = 2048 } = options;
    const { layout, exportName } = this.#test;
    const ledger = new BlockLedger({ offsetBytes: layout.sizeBytes / 2, blockCount });
    const faults: string[] = [];
    const workload = new Workload({
      targets: [{ site: 'attached', address: this.address }],
      exportName,
      ledger,
      depth,
      flushEvery,
      stallMillis: 60_000,
      note: (text) => {
        if (text.startsWith('lost')) faults.push(text);
      },
    });
    workload.start();
    this.#test.onClose(() => workload.stop());
    return { ledger, workload, faults };
  }

  async connect(): Promise<NbdClient> {
    const client = await NbdClient.connect({ address: this.address, exportName: this.#test.exportName });
    this.#test.onClose(async () => client.destroy('the test is over'));
    return client;
  }

  async #answers(): Promise<boolean> {
    try {
      const client = await NbdClient.connect({ address: this.address, exportName: this.#test.exportName, connectMillis: 1_000 });
      assert.equal(client.sizeBytes, this.#sizeBytes);
      await client.close();
      return true;
    } catch (error) {
      if (error instanceof NbdConnectionError) return false;
      throw error;
    }
  }
}
