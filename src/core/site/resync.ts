// The primary's part in bringing a peer up to date: by which rung of the ladder, what is noted for a peer whose records the sidefile forgets, and
// until when. Bits are set before the records go, and cleared only when the end marker is on the peer's stable storage.

import { BITMAP_BODY, decodeNumbers, encodeJson, encodeNumbers, IMAGE_ASK_BODY } from '../mirror/messages.ts';
import { CopySender } from '../mirror/copy.ts';
import type { DeltaBegin, FollowedPeer } from '../mirror/followed.ts';
import { choiceOf, type Follow, type Join, type ScanChoice, type ScanHow } from '../mirror/forms.ts';
import { decideJoin, type JoinDecision } from '../mirror/join.ts';
import type { Link } from '../mirror/link.ts';
import { BitmapRanges, type RangeSource, ScanRanges, WholeRanges } from '../mirror/ranges.ts';
import { type Findings, ScanSide } from '../mirror/scan.ts';
import { BLOCK_BYTES, type Seq, type SiteName } from '../base/units.ts';
import type { Cursor } from '../replica/receive.ts';
import type { Replica } from '../replica/replica.ts';
import type { ResyncRung } from '../replica/superblock.ts';
import type { SiteCounter, SiteOptions } from './contract.ts';

const START: Cursor = { volume: 0, offset: 0 };

/** First record that can be sent over a connection: what lies in folded frames can only where those are taken. */
export function oldestFor(link: Link | null, { marks, foldedUpTo }: Pick<Replica, 'marks' | 'foldedUpTo'>): Seq {
  return link?.takesFolded === false ? Math.max(marks.oldest, foldedUpTo + 1) : marks.oldest;
}

export class Resyncs {
  readonly #options: SiteOptions;
  readonly #replica: Replica;
  readonly #counters: Record<SiteCounter, number>;
  readonly #followed: ReadonlyMap<SiteName, FollowedPeer>;
  /** Scans that were ordered and are not known to the mirror yet. */
  readonly #wanted = new Map<SiteName, ScanChoice>();

  constructor(given: {
    options: SiteOptions;
    replica: Replica;
    counters: Record<SiteCounter, number>;
    followed: ReadonlyMap<SiteName, FollowedPeer>;
  }) {
    this.#options = given.options;
    this.#replica = given.replica;
    this.#counters = given.counters;
    this.#followed = given.followed;
  }

  /** By which rung a peer that asks to join is brought up to date. */
  decide(peer: FollowedPeer, join: Join): JoinDecision {
    const replica = this.#replica;
    const { received } = replica.marks;
    const map = replica.bitmaps.get(peer.site);
    const wanted = this.#wanted.get(peer.site) ?? join.scan;
    return decideJoin(
      {
        history: replica.history,
        received,
        oldest: oldestFor(peer.peer.link, replica),
        chainAt: (seq) => replica.chainAt(seq),
        bitmapFrom: map !== null && map.to >= received ? map.from : null,
        scans: this.#options.scan !== null,
      },
      wanted === null ? join : { ...join, needsCopy: 'it was ordered that the copies are compared' },
    );
  }

  /** Begins what was decided: tells the peer where to follow from, and makes what sends the images. */
  begin(peer: FollowedPeer, link: Link, decision: JoinDecision, join: Join, retain: () => Seq): void {
    const replica = this.#replica;
    const { marks, history, epoch } = replica;
    const goesOn = decision.rung === 'delta' || decision.rung === 'resume';
    const position = goesOn ? decision.cutTo : marks.received;
    const chain = goesOn ? decision.chain : replica.chain;
    peer.attached = 'joining';
    peer.joinAt = position;
    // What it holds is not yet what it has on stable storage.
    const durable = decision.rung === 'delta' ? Math.min(position, join.durable) : position;
    peer.keptFrom = Math.max(marks.oldest, durable + 1);
    peer.knownDurable = decision.rung === 'delta' ? durable : null;
    peer.uncovered = false;
    const rung = decision.rung === 'resume' ? decision.how : decision.rung;
    const scan = rung === 'scan' ? this.#howOf(peer, join) : null;
    if (decision.rung === 'delta') peer.delta = this.#deltaBegin(position);
    else if (rung !== 'delta') this.#makeSender(peer, link, rung, scan, decision, join);
    this.#tell(peer, decision, position, scan);
    this.#counters.joins++;
    const follow: Follow = {
      epoch,
      history,
      rung,
      resume: decision.rung === 'resume',
      scan,
      ...(scan !== null && { sizes: replica.sizes.agreed.map(({ sizeBytes }) => sizeBytes) }),
      imageBytes: decision.rung === 'bitmap' ? (peer.copy?.totalBytes ?? null) : null,
      from: decision.rung === 'resume' ? (join.staged?.cursor ?? START) : START,
      position,
      cutTo: decision.rung === 'bitmap' ? decision.cutTo : null,
      chain,
      target: marks.received,
      retain: retain(),
    };
    link.send('follow', encodeJson(follow));
    // At once, not at the end of the turn: a destage that ends in between must not drop what was just promised.
    replica.retainFrom = retain();
  }

  #deltaBegin(position: Seq): DeltaBegin | null {
    const { marks } = this.#replica;
    if (position === marks.received) return null;
    const why = `the sidefile has every record behind ${position}, the last that both share`;
    const beganAt = this.#options.clock.now();
    return { beganAt, target: marks.received, totalBytes: this.#replica.bytesAfter(position), why };
  }

  #howOf(peer: FollowedPeer, join: Join): ScanHow | null {
    const { scan } = this.#options;
    const choice = this.#wanted.get(peer.site) ?? join.scan ?? join.staged?.scan ?? null;
    return scan === null || choice === null ? scan : { ...scan, ...choiceOf(choice) };
  }

  #makeSender(peer: FollowedPeer, link: Link, rung: ResyncRung, scan: ScanHow | null, decision: JoinDecision, join: Join): void {
    const replica = this.#replica;
    const from = decision.rung === 'resume' ? (join.staged?.cursor ?? START) : START;
    const why = 'why' in decision ? decision.why : '';
    const ranges = scan === null ? this.#rangesOf(peer, rung, from) : new ScanRanges(replica.sizes.agreed, from);
    const side =
      scan === null || !(ranges instanceof ScanRanges)
        ? null
        : new ScanSide({
            link,
            epoch: replica.epoch,
            how: scan,
            volumes: replica.sizes.agreed,
            source: replica,
            digests: this.#options.blockDigests,
            from,
            findings: scan.compare === 'primary' ? this.#findings(ranges) : null,
          });
    peer.copy = new CopySender({
      rung,
      why,
      ranges,
      now: this.#options.clock.now(),
      scan: side,
      source: replica,
      link,
      digests: this.#options.digests,
      epoch: replica.epoch,
      pace: peer.pace,
      wake: () => this.#options.shell.wake(),
    });
    this.#counters.copies++;
  }

  #findings(ranges: ScanRanges): Findings {
    const wake = (): void => this.#options.shell.wake();
    return {
      differs: (range) => {
        ranges.differs(range);
        wake();
      },
      settled: (cursor) => {
        ranges.settled(cursor);
        wake();
      },
      end: () => {
        ranges.end();
        wake();
      },
    };
  }

  /** What a mirror that compares needs. Returns what is wrong with it, or null. */
  asked(peer: FollowedPeer, body: Uint8Array): string | null {
    const said = decodeNumbers(IMAGE_ASK_BODY, body);
    if (said === null) return 'a question for images is malformed';
    const ranges = peer.copy?.ranges;
    if (said.epoch !== this.#replica.epoch || peer.attached !== 'copying' || !(ranges instanceof ScanRanges)) return null;
    const { volume, offset, length, kind } = said;
    const size = this.#replica.volumes[volume]?.sizeBytes ?? 0;
    const aligned = offset % BLOCK_BYTES === 0 && length % BLOCK_BYTES === 0;
    if (kind > 3 || kind < 1 || (kind !== 3 && (!aligned || offset + length > size)) || (kind === 1 && length === 0))
      return `asks for an image of ${length} bytes at ${offset} of volume ${volume}`;
    if (kind === 1) ranges.differs({ volume, offset, length });
    else if (kind === 2) ranges.settled({ volume, offset });
    else ranges.end();
    return null;
  }

  /** Orders that a peer is compared with this site, in its next join. */
  want(site: SiteName, choice: ScanChoice): void {
    this.#wanted.set(site, choice);
  }

  #rangesOf(peer: FollowedPeer, rung: ResyncRung, from: Cursor): RangeSource {
    const replica = this.#replica;
    const map = replica.bitmaps.get(peer.site);
    if (rung === 'bitmap' && map !== null)
      return new BitmapRanges(replica.sizes.agreed, replica.bitmaps, map, this.#options.resyncPieceBytes, from);
    return new WholeRanges(replica.sizes.agreed, this.#options.resyncPieceBytes, from);
  }

  #tell(peer: FollowedPeer, decision: JoinDecision, position: Seq, scan: ScanHow | null): void {
    const { journal } = this.#options;
    const { site } = peer;
    const records = this.#replica.marks.received - position;
    if (decision.rung === 'delta') {
      journal('resync.begin', { site, rung: 'delta', from: position + 1, records }, `${site} gets ${records} records by delta`);
    } else if (decision.rung === 'resume') {
      journal(
        'resync.begin',
        { site, rung: decision.how, why: decision.why, resumed: true },
        `the resync of ${site} by ${decision.how} goes on where it was cut off`,
      );
    } else {
      const text = { copy: 'gets a whole copy', scan: 'is compared block by block', bitmap: 'gets the blocks that its bitmap names' }[
        decision.rung
      ];
      const { why, rung } = decision;
      const cutTo = decision.rung === 'bitmap' ? decision.cutTo : null;
      const how = scan === null ? {} : { algorithm: scan.algorithm, compare: scan.compare };
      journal('resync.begin', { site, rung, why, cutTo, bytes: peer.copy?.totalBytes ?? 0, ...how }, `${site} ${text}: ${why}`);
    }
  }

  /**
   * The sidefile is about to forget records that a peer lacks, from `from` on: notes what they touch in its bitmap. False while that goes on; the
   * records must stay until it is true.
   */
  forget(peer: FollowedPeer, from: Seq): boolean {
    if (this.#replica.bitmaps.ensure(peer.site, from, this.#replica.marks.oldest)) {
      const { site } = peer;
      this.#options.journal('bitmap.begin', { site, from }, `the blocks of records from ${from} on are noted for ${site}`);
    }
    if (!this.#replica.fillBitmap(peer.site)) {
      this.#options.shell.wake();
      return false;
    }
    for (const other of this.#followed.values()) this.#share(other, peer.site);
    return true;
  }

  /** The peer holds everything up to the end of its resync on stable storage: nothing need be noted for it. */
  ended(peer: FollowedPeer): void {
    const { bitmaps, epoch } = this.#replica;
    if (bitmaps.get(peer.site) === null) return;
    bitmaps.drop(peer.site);
    if (this.#indexOf(peer.site) === -1) return;
    for (const other of this.#followed.values()) {
      if (other.streaming && other !== peer && this.#isAlike(other)) {
        other.peer.link?.send(
          'bitmap',
          encodeNumbers(BITMAP_BODY, [epoch, 0, 0, 0, bitmaps.chunkBytes, this.#indexOf(peer.site), 0, 4, 0, 0]),
        );
      }
    }
  }

  /** A mirror has begun to follow: it takes the bitmaps of the others over, so that they are not lost with this site. */
  joined(peer: FollowedPeer): void {
    const scan = peer.copy?.scan ?? null;
    // It has noted on its disk that it is compared, and how: until now the order was known here alone.
    if (scan !== null) this.#wanted.delete(peer.site);
    scan?.start();
    for (const site of this.#replica.bitmaps.sites) this.#share(peer, site);
  }

  #share(to: FollowedPeer, site: SiteName): void {
    const { bitmaps, epoch, marks } = this.#replica;
    const map = bitmaps.get(site);
    const { link } = to.peer;
    if (map === null || map.to < marks.received || link === null || !to.streaming || to.site === site || !this.#isAlike(to)) return;
    // Of a copy that is to be struck out: here, too, it has no place in the list.
    if (this.#indexOf(site) === -1) return;
    const send = (kind: number, volume: number, page: number, bytes: Uint8Array | null): void => {
      const head = encodeNumbers(BITMAP_BODY, [epoch, map.from, map.to, page, bitmaps.chunkBytes, this.#indexOf(site), volume, kind, 0, 0]);
      const parts = bytes === null ? [head] : [head, new Uint8Array(bytes)];
      const { digests } = this.#options;
      link.sendParts(
        'bitmap',
        parts,
        parts.reduce((crc, part) => digests.crc32(part, crc), 0),
      );
    };
    send(1, 0, 0, null);
    map.volumes.forEach((bits, volume) => {
      for (const { index, bytes } of bits.pages()) send(2, volume, index, bytes);
    });
    send(3, 0, 0, null);
  }

  /** Whether that peer has the same sites in the same order: a bitmap names its site by the place in them. */
  #isAlike({ peer }: FollowedPeer): boolean {
    const { wish } = peer.said ?? {};
    const { sites } = this.#options;
    return wish === undefined || (wish.length === sites.length && wish.every(({ site }, index) => site === sites[index]?.name));
  }

  #indexOf(site: SiteName): number {
    return this.#options.sites.findIndex((spec) => spec.name === site);
  }
}
