// One site's part in a scan over one connection: it answers what the other side asks about its own content, and, where it is the one that compares,
// asks itself and says what differs. The same on a primary and on a mirror; who begins and who compares are two choices of their own.

import { limits } from '../base/limits.ts';
import type { BlockDigests, DigestAlgorithm } from '../base/ports.ts';
import type { Epoch } from '../base/units.ts';
import type { Cursor } from '../replica/receive.ts';
import { Comparer } from '../scan/compare.ts';
import type { DigestSource, VolumeRange } from '../scan/digest.ts';
import { LocalDigests } from '../scan/local.ts';
import type { ScanHow } from './forms.ts';
import type { Link } from './link.ts';
import { decodeNumbers, DIGEST_BODY, encodeNumbers, type Message } from './messages.ts';

const ALGORITHM_NUMBERS: Readonly<Record<DigestAlgorithm, number>> = { crc32: 1, md5: 2, sha1: 3, sha256: 4 };

/** What becomes of a comparison. */
export interface Findings {
  differs(range: VolumeRange): void;
  settled(cursor: Cursor): void;
  end(): void;
}

export class ScanSide {
  readonly #link: Link;
  readonly #epoch: Epoch;
  /** How it is done. */
  readonly how: ScanHow;
  readonly #volumes: readonly { readonly sizeBytes: number }[];
  readonly #local: LocalDigests;
  readonly #comparer: Comparer | null;
  #stopped = false;

  constructor(options: {
    link: Link;
    epoch: Epoch;
    how: ScanHow;
    volumes: readonly { readonly sizeBytes: number }[];
    source: DigestSource;
    digests: BlockDigests;
    from: Cursor;
    /** Given to the side that compares. */
    findings: Findings | null;
  }) {
    const { link, epoch, how, volumes, source, digests, from, findings } = options;
    this.#link = link;
    this.#epoch = epoch;
    this.how = how;
    this.#volumes = volumes;
    this.#local = new LocalDigests({ source, digests, algorithm: how.algorithm, geometry: how });
    this.#comparer =
      findings === null
        ? null
        : new Comparer({
            local: this.#local,
            geometry: how,
            volumes,
            from,
            owner: {
              ask: ({ number, range, nodeBytes }) => this.#send('digestAsk', number, range, nodeBytes, null),
              differs: (range) => findings.differs(range),
              settled: (volume, offset) => findings.settled({ volume, offset }),
              done: () => findings.end(),
            },
          });
  }

  /** Begins to compare, if this side does. */
  start(): void {
    this.#comparer?.start();
  }

  stop(): void {
    this.#stopped = true;
    this.#local.stop();
    this.#comparer?.stop();
  }

  /** A question, or an answer. Returns what is wrong with it, or null. */
  message(message: Message): string | null {
    const head = decodeNumbers(DIGEST_BODY, message.body);
    if (head === null) return `a ${message.name} message is malformed`;
    if (head.epoch !== this.#epoch) return null;
    const { number, volume, offset, length, nodeBytes } = head;
    const size = this.#volumes[volume]?.sizeBytes ?? 0;
    const count = Math.ceil(length / nodeBytes);
    const known = this.how.levels.includes(nodeBytes) && head.algorithm === ALGORITHM_NUMBERS[this.how.algorithm];
    const inside = length > 0 && offset + length <= size && offset % nodeBytes === 0 && length <= (this.how.levels[0] ?? 0);
    const whole = length % nodeBytes === 0 || offset + length === size;
    if (!known || !inside || !whole || count > limits.scanNodesMax)
      return `a ${message.name} message is about ${length} bytes at ${offset} in nodes of ${nodeBytes}`;
    const range = { volume, offset, length };
    if (message.name === 'digestAsk') {
      this.#local.nodes(range, nodeBytes, (digests) => {
        // A failed read has failed the replica, which ends everything.
        if (!this.#stopped && digests instanceof Uint8Array) this.#send('digests', number, range, nodeBytes, digests);
      });
      return null;
    }
    if (this.#comparer === null) return 'an answer came to a question that was not put';
    return this.#comparer.answered(number, range, nodeBytes, new Uint8Array(message.body.subarray(DIGEST_BODY.bytes)));
  }

  #send(name: 'digestAsk' | 'digests', number: number, range: VolumeRange, nodeBytes: number, digests: Uint8Array | null): void {
    const { volume, offset, length } = range;
    const head = encodeNumbers(DIGEST_BODY, [
      this.#epoch,
      number,
      offset,
      length,
      nodeBytes,
      volume,
      ALGORITHM_NUMBERS[this.how.algorithm],
    ]);
    if (digests === null) return this.#link.send(name, head);
    const body = new Uint8Array(head.length + digests.length);
    body.set(head);
    body.set(digests, head.length);
    this.#link.send(name, body);
  }
}
