// The rules of arbitration as a small model, searched breadth-first: two sync sites, an async one and a witness; crashes, power losses, cut links,
// requests and answers that are lost, planned handovers and promotion by force. It knows nothing of bytes, times or code: what it says is that the
// rules, kept to the letter, never let two sites serve and never lose a write that they promise to keep. Each mutation breaks one rule, and has
// to be found, else the model proves nothing.
//
//   node spec/arbitration.ts [MUTATION] [--states 2000000] [--writes 2] [--epochs 4] [--failures 2] [--flips 2]

import { fileURLToPath } from 'node:url';

/** What a primary takes its sync peer's flag for: known true, known false, or in doubt. */
type View = 'true' | 'false' | 'maybe';

interface Site {
  up: boolean;
  role: 'primary' | 'mirror' | 'idle';
  epoch: number;
  /** Records as "epoch.write". */
  log: string[];
  /** Records on stable storage. */
  flushed: number;
  clean: boolean;
  /** As primary: the peer's promise counts. As another: it has promised. */
  lease: boolean;
  promise: boolean;
  view: View;
  /** Follows the primary of its epoch. */
  joined: boolean;
  /** A claim whose answer is not known. */
  pending: boolean;
  /** As primary: it has stopped for a handover, and whether it has asked. */
  giving: 'no' | 'stopped' | 'asked';
  /** Has confirmed the final position of a primary that has stopped, in its epoch. */
  confirmed: boolean;
}

interface State {
  witness: { epoch: number; primary: number; flags: boolean[] };
  link: boolean;
  /** Paths of the sync sites to the witness. */
  paths: boolean[];
  sites: Site[];
  acked: string[];
  nextWrite: number;
  failures: number;
  flips: number;
  handovers: number;
  forced: boolean;
}

export interface Bounds {
  readonly states: number;
  readonly writes: number;
  readonly epochs: number;
  readonly failures: number;
  readonly flips: number;
}

export interface Found {
  readonly states: number;
  /** null when every state keeps the rules; else what is broken and how it came to it. */
  readonly violation: { readonly text: string; readonly path: readonly string[] } | null;
  /** How often something that must be reachable was reached. */
  readonly reached: Readonly<Record<'served after a failover' | 'served after a handover' | 'served after force', number>>;
}

/** Each breaks one rule. */
export const MUTATIONS = [
  'serves without a lease',
  'promises nothing',
  'a restart forgets the promise',
  'acknowledges before the peer holds it',
  'solo, acknowledges from memory',
  'in doubt, relies on the disk alone',
  'in doubt, relies on the peer alone',
  'excludes before its flush',
  'relies on its view while it excludes',
  'claims with its own flag false',
  'a claim keeps the other flag',
  'claims before its flush',
  'claims although unclean',
  'power loss is forgotten',
  'admits without requiring first',
  'solo without the witness',
  'hands over and serves on',
  'hands over before everything is there',
  'goes back although it has asked',
  'does not require the old primary',
  'takes an old offer after a power loss',
  'force leaves the other flags',
] as const;
export type Mutation = (typeof MUTATIONS)[number];

const FAR = 2;

function site(role: Site['role'], lease: boolean, promise: boolean): Site {
  const place = { up: true, role, epoch: 1, log: [], flushed: 0, clean: true, lease, promise } as const;
  return { ...place, log: [], view: 'true', joined: role === 'mirror', pending: false, giving: 'no', confirmed: false };
}

function first(): State {
  const sites = [site('primary', true, false), site('mirror', false, true), site('mirror', false, false)];
  const counts = { nextWrite: 1, failures: 0, flips: 0, handovers: 0, forced: false };
  return { witness: { epoch: 1, primary: 0, flags: [true, true, true] }, link: true, paths: [true, true], sites, acked: [], ...counts };
}

function isPrefix(a: readonly string[], b: readonly string[]): boolean {
  return a.length <= b.length && a.every((record, index) => record === b[index]);
}

/** The model with its bounds and at most one mutation. */
class Model {
  readonly bounds: Bounds;
  readonly broken: Mutation | null;
  private steps: { label: string; next: State }[] = [];

  constructor(bounds: Bounds, broken: Mutation | null) {
    this.bounds = bounds;
    this.broken = broken;
  }

  is(mutation: Mutation): boolean {
    return this.broken === mutation;
  }

  serves(state: State, index: number): boolean {
    const s = state.sites[index] as Site;
    if (!s.up || s.role !== 'primary') return false;
    if (s.giving !== 'no' && !this.is('hands over and serves on')) return false;
    return index === FAR || s.view === 'false' || s.lease || this.is('serves without a lease');
  }

  /** Every step that is possible in a state. */
  next(state: State): readonly { label: string; next: State }[] {
    this.steps = [];
    for (const index of [0, 1]) {
      const peer = 1 - index;
      this.writes(state, index);
      this.mirrors(state, index, peer);
      this.leases(state, index, peer);
      this.excludes(state, index, peer);
      this.claims(state, index, peer);
      this.joins(state, index, peer);
      this.handsOver(state, index, peer);
      this.fails(state, index);
    }
    this.far(state);
    if (state.flips < this.bounds.flips) {
      this.step(state, 'the link changes', (n) => {
        n.flips++;
        n.link = !n.link;
      });
    }
    return this.steps;
  }

  private step(state: State, label: string, change: (next: State) => void): void {
    const next = structuredCloneOf(state);
    change(next);
    this.steps.push({ label, next });
  }

  private writes(state: State, index: number): void {
    const s = state.sites[index] as Site;
    const peer = state.sites[index === 0 ? 1 : 0] as Site;
    if (this.serves(state, index) && s.giving === 'no' && state.nextWrite <= this.bounds.writes) {
      this.step(state, `${index} takes write ${state.nextWrite}`, (n) => {
        (n.sites[index] as Site).log.push(`${s.epoch}.${n.nextWrite}`);
        n.nextWrite++;
      });
    }
    if (s.up && s.flushed < s.log.length) {
      this.step(state, `${index} flushes`, (n) => {
        (n.sites[index] as Site).flushed = s.log.length;
      });
    }
    const at = s.log.findIndex((record) => !state.acked.includes(record));
    if (s.role !== 'primary' || !s.up || at < 0 || !this.mayAcknowledge(s, peer, at) || !this.serves(state, index)) return;
    this.step(state, `${index} acknowledges ${s.log[at]}`, (n) => {
      n.acked.push(s.log[at] as string);
      n.acked.sort();
    });
  }

  /** Rule 3. */
  private mayAcknowledge(s: Site, peer: Site, at: number): boolean {
    const follows = peer.up && peer.role === 'mirror' && peer.joined && peer.epoch === s.epoch;
    const held = follows && peer.log[at] === s.log[at];
    const onDisk = s.flushed > at;
    if (s.view === 'true') return held || this.is('acknowledges before the peer holds it');
    if (s.view === 'false') return onDisk || this.is('solo, acknowledges from memory');
    return (held || this.is('in doubt, relies on the disk alone')) && (onDisk || this.is('in doubt, relies on the peer alone'));
  }

  private follows(state: State, index: number, peer: number): boolean {
    const s = state.sites[index] as Site;
    const other = state.sites[peer] as Site;
    return s.up && s.role === 'primary' && other.up && other.role === 'mirror' && other.joined && other.epoch === s.epoch;
  }

  private mirrors(state: State, index: number, peer: number): void {
    const s = state.sites[index] as Site;
    const other = state.sites[peer] as Site;
    if (!this.follows(state, index, peer) || !state.link) return;
    if (isPrefix(other.log, s.log) && other.log.length < s.log.length) {
      this.step(state, `${peer} gets a record`, (n) => {
        (n.sites[peer] as Site).log.push(s.log[other.log.length] as string);
      });
    }
    if (!isPrefix(s.log, other.log)) return;
    if (!other.clean) {
      this.step(state, `${peer} is clean`, (n) => {
        (n.sites[peer] as Site).clean = true;
      });
    }
    if (s.view === 'false' && other.clean) {
      this.step(state, `${index} requires ${peer}`, (n) => {
        Object.assign(n.sites[index] as Site, { view: 'maybe', lease: true });
        (n.sites[peer] as Site).promise = true;
      });
    }
    const required = s.view === 'maybe' || this.is('admits without requiring first');
    if (!required || !other.clean || !this.reigns(state, index)) return;
    for (const known of [true, false]) {
      this.step(state, `${index} admits ${peer}${known ? '' : ', answer lost'}`, (n) => {
        n.witness.flags[peer] = true;
        if (known && s.view === 'maybe') (n.sites[index] as Site).view = 'true';
      });
    }
  }

  /** The witness can be asked, and names this site in its epoch. */
  private reigns(state: State, index: number): boolean {
    const { witness } = state;
    return state.paths[index] === true && witness.primary === index && witness.epoch === (state.sites[index] as Site).epoch;
  }

  private leases(state: State, index: number, peer: number): void {
    const s = state.sites[index] as Site;
    const other = state.sites[peer] as Site;
    if (s.role === 'primary' && s.up && s.lease) {
      this.step(state, `the lease of ${index} ends`, (n) => {
        (n.sites[index] as Site).lease = false;
      });
    }
    const counted = other.up && other.role === 'primary' && other.lease && other.epoch >= s.epoch;
    if (s.up && s.role !== 'primary' && s.promise && (!counted || this.is('promises nothing'))) {
      this.step(state, `the promise of ${index} ends`, (n) => {
        (n.sites[index] as Site).promise = false;
      });
    }
    if (this.follows(state, index, peer) && state.link && !other.pending && (!s.lease || !other.promise)) {
      this.step(state, `${peer} promises`, (n) => {
        (n.sites[index] as Site).lease = true;
        (n.sites[peer] as Site).promise = true;
      });
    }
  }

  /** Rule 4. */
  private excludes(state: State, index: number, peer: number): void {
    const s = state.sites[index] as Site;
    if (!s.up || s.role !== 'primary' || s.view === 'false' || s.giving !== 'no') return;
    if (this.is('solo without the witness') && !state.link) {
      this.step(state, `${index} goes on alone`, (n) => {
        (n.sites[index] as Site).view = 'false';
      });
    }
    if (s.flushed < s.log.length && !this.is('excludes before its flush')) return;
    if (this.reigns(state, index) && state.witness.flags[index] === true) {
      for (const known of [true, false]) {
        this.step(state, `${index} excludes ${peer}${known ? '' : ', answer lost'}`, (n) => {
          n.witness.flags[peer] = false;
          const doubt = this.is('relies on its view while it excludes') ? s.view : 'maybe';
          (n.sites[index] as Site).view = known ? 'false' : doubt;
        });
      }
    }
    if (s.view !== 'true') return;
    this.step(state, `${index} wants to exclude ${peer}, request lost`, (n) => {
      (n.sites[index] as Site).view = 'maybe';
    });
  }

  /** Rules 2, 5 and 6. */
  private claims(state: State, index: number, peer: number): void {
    const s = state.sites[index] as Site;
    const { witness } = state;
    if (!s.up || s.role === 'primary' || s.promise || state.paths[index] !== true) return;
    const flag = witness.flags[index] === true || this.is('claims with its own flag false');
    const onDisk = s.flushed === s.log.length || this.is('claims before its flush');
    const clean = s.clean || witness.flags[peer] !== true || this.is('claims although unclean');
    if (!flag || !onDisk || !clean) return;
    if (witness.epoch < this.bounds.epochs) {
      for (const known of [true, false]) {
        this.step(state, `${index} claims${known ? '' : ', answer lost'}`, (n) => {
          n.witness.epoch++;
          n.witness.primary = index;
          if (!this.is('a claim keeps the other flag')) n.witness.flags[peer] = false;
          if (known) this.begin(n, index, 'false');
          else Object.assign(n.sites[index] as Site, { joined: false, pending: true, role: 'idle' });
        });
      }
    }
    if (s.pending && witness.primary === index && witness.epoch > s.epoch) {
      this.step(state, `${index} learns of its claim`, (n) => this.begin(n, index, n.witness.flags[peer] === true ? 'maybe' : 'false'));
    }
  }

  private begin(next: State, index: number, view: View): void {
    const s = next.sites[index] as Site;
    const more = { view, lease: false, clean: true, joined: false, pending: false, giving: 'no', confirmed: false } as const;
    Object.assign(s, { role: 'primary', epoch: next.witness.epoch, ...more });
  }

  private stepDown(next: State, index: number): void {
    Object.assign(next.sites[index] as Site, { role: 'idle', joined: false, promise: true, lease: false, giving: 'no' });
  }

  /** Rule 7, stepping down, and the end of a claim that was not granted. */
  private joins(state: State, index: number, peer: number): void {
    const s = state.sites[index] as Site;
    const { witness, sites } = state;
    if (s.up && s.role === 'primary') {
      const told = state.paths[index] === true && witness.epoch > s.epoch && witness.primary !== index;
      const seen = state.link && sites.some((other, at) => at !== index && other.up && other.role === 'primary' && other.epoch > s.epoch);
      if (told || seen) this.step(state, `${index} steps down`, (n) => this.stepDown(n, index));
    }
    if (s.up && s.pending && state.paths[index] === true && (witness.flags[index] !== true || (witness.primary !== index && witness.epoch > s.epoch))) {
      this.step(state, `${index} learns that its claim was not granted`, (n) => {
        (n.sites[index] as Site).pending = false;
      });
    }
    for (const leader of [peer, FAR]) {
      const other = sites[leader] as Site;
      const older = !s.joined || s.epoch < other.epoch;
      if (!s.up || s.role === 'primary' || s.pending || !state.link || !other.up || other.role !== 'primary') continue;
      if (s.epoch > other.epoch || !older) continue;
      this.step(state, `${index} joins ${leader}`, (n) => this.join(n, index, leader));
    }
  }

  private join(next: State, index: number, leader: number): void {
    const s = next.sites[index] as Site;
    const other = next.sites[leader] as Site;
    let shared = 0;
    while (shared < s.log.length && s.log[shared] === other.log[shared]) shared++;
    s.log.length = shared;
    s.flushed = Math.min(s.flushed, shared);
    Object.assign(s, { epoch: other.epoch, role: 'mirror', joined: true, confirmed: false, promise: index !== FAR && leader !== FAR });
  }

  /** The planned change. */
  private handsOver(state: State, index: number, peer: number): void {
    const s = state.sites[index] as Site;
    const other = state.sites[peer] as Site;
    const settled = s.log.every((record) => state.acked.includes(record));
    if (this.serves(state, index) && s.giving === 'no' && s.view === 'true' && state.handovers < 2 && this.follows(state, index, peer)) {
      if (settled || this.is('hands over before everything is there')) {
        this.step(state, `${index} stops for a handover`, (n) => {
          n.handovers++;
          (n.sites[index] as Site).giving = 'stopped';
        });
      }
    }
    const there = (isPrefix(s.log, other.log) && other.flushed >= s.log.length) || this.is('hands over before everything is there');
    if (s.giving === 'stopped' && state.link && this.follows(state, index, peer) && !other.confirmed && other.clean && there) {
      this.step(state, `${peer} confirms`, (n) => {
        (n.sites[peer] as Site).confirmed = true;
      });
    }
    if (s.giving === 'stopped' || (s.giving === 'asked' && this.is('goes back although it has asked'))) {
      this.step(state, `${index} goes back`, (n) => {
        (n.sites[index] as Site).giving = 'no';
      });
    }
    if (s.giving === 'stopped' && other.confirmed && state.link) this.asks(state, index, peer);
    if (s.giving === 'asked' && this.reigns(state, index) && s.up) {
      this.step(state, `${index} learns that nothing came of the handover`, (n) => {
        (n.sites[index] as Site).giving = 'no';
      });
    }
    this.takes(state, peer);
  }

  private asks(state: State, index: number, peer: number): void {
    const { witness } = state;
    this.step(state, `${index} asks for the handover, request lost`, (n) => {
      (n.sites[index] as Site).giving = 'asked';
    });
    if (!this.reigns(state, index) || witness.flags[peer] !== true || witness.flags[index] !== true || witness.epoch >= this.bounds.epochs) return;
    for (const known of [true, false]) {
      this.step(state, `${index} hands over to ${peer}${known ? '' : ', answer lost'}`, (n) => {
        n.witness.epoch++;
        n.witness.primary = peer;
        if (known) this.stepDown(n, index);
        else (n.sites[index] as Site).giving = 'asked';
      });
    }
  }

  private takes(state: State, index: number): void {
    const s = state.sites[index] as Site;
    const { witness } = state;
    const named = witness.primary === index && witness.epoch === s.epoch + 1 && witness.flags[index] === true;
    if (!s.up || s.role === 'primary' || s.pending || !s.confirmed || !named || state.paths[index] !== true) return;
    const view = this.is('does not require the old primary') ? 'false' : 'maybe';
    this.step(state, `${index} takes over`, (n) => this.begin(n, index, witness.flags[1 - index] === true ? view : 'false'));
  }

  private fails(state: State, index: number): void {
    const s = state.sites[index] as Site;
    const down = { up: false, role: 'idle', lease: false, joined: false, giving: 'no' } as const;
    if (s.up && state.failures < this.bounds.failures) {
      this.step(state, `${index} is killed`, (n) => {
        n.failures++;
        Object.assign(n.sites[index] as Site, { ...down, confirmed: false });
      });
      this.step(state, `${index} loses power`, (n) => {
        n.failures++;
        const lost = n.sites[index] as Site;
        const confirmed = this.is('takes an old offer after a power loss') && s.confirmed;
        Object.assign(lost, { ...down, clean: this.is('power loss is forgotten'), confirmed });
        lost.log.length = s.flushed;
      });
    }
    if (!s.up) {
      this.step(state, `${index} starts`, (n) => {
        Object.assign(n.sites[index] as Site, { up: true, promise: !this.is('a restart forgets the promise'), view: 'maybe' });
      });
    }
    if (state.flips < this.bounds.flips) {
      this.step(state, `the path of ${index} to the witness changes`, (n) => {
        n.flips++;
        n.paths[index] = n.paths[index] !== true;
      });
    }
  }

  /** The async site: it follows whoever reigns, and is promoted only by hand, when nobody else serves. */
  private far(state: State): void {
    const far = state.sites[FAR] as Site;
    if (far.role === 'primary') {
      this.writes(state, FAR);
      return;
    }
    for (const index of [0, 1]) {
      const s = state.sites[index] as Site;
      if (!s.up || s.role !== 'primary' || s.epoch < far.epoch) continue;
      if (far.epoch < s.epoch || !far.joined) this.step(state, `far joins ${index}`, (n) => this.join(n, FAR, index));
      else if (isPrefix(far.log, s.log) && far.log.length < s.log.length) {
        this.step(state, 'far gets a record', (n) => {
          (n.sites[FAR] as Site).log.push(s.log[far.log.length] as string);
        });
      }
    }
    const nobody = [0, 1].every((index) => !this.serves(state, index) && (state.sites[index] as Site).role !== 'primary');
    if (state.forced || !nobody || state.witness.epoch >= this.bounds.epochs) return;
    this.step(state, 'far is promoted by force', (n) => {
      n.forced = true;
      n.witness.epoch++;
      n.witness.primary = FAR;
      n.witness.flags = this.is('force leaves the other flags') ? n.witness.flags.map(() => true) : [false, false, true];
      const promoted = n.sites[FAR] as Site;
      // What it does not hold is given up: that is what the operator was shown.
      n.acked = n.acked.filter((record) => promoted.log.includes(record));
      promoted.flushed = promoted.log.length;
      this.begin(n, FAR, 'false');
    });
  }

  fault(state: State): string | null {
    const serving = [0, 1, FAR].filter((index) => this.serves(state, index));
    if (serving.length > 1) return `${serving.join(' and ')} serve at one time`;
    for (const index of serving) {
      const { log } = state.sites[index] as Site;
      const lacking = state.acked.find((record) => !log.includes(record));
      if (lacking !== undefined) return `${index} serves without ${lacking}, which a host was told of`;
    }
    return null;
  }
}

function structuredCloneOf(state: State): State {
  const { witness, paths, sites, acked, ...counts } = state;
  return {
    ...counts,
    witness: { ...witness, flags: [...witness.flags] },
    paths: [...paths],
    acked: [...acked],
    sites: sites.map((each) => ({ ...each, log: [...each.log] })),
  };
}

/** Searches all states within the bounds, nearest first. */
export function search(bounds: Bounds, broken: Mutation | null): Found {
  const model = new Model(bounds, broken);
  const start = first();
  const came = new Map<string, readonly [string, string] | null>([[JSON.stringify(start), null]]);
  const reached = { 'served after a failover': 0, 'served after a handover': 0, 'served after force': 0 };
  let layer: State[] = [start];
  while (layer.length > 0 && came.size < bounds.states) {
    const nextLayer: State[] = [];
    for (const state of layer) {
      const from = JSON.stringify(state);
      for (const { label, next } of model.next(state)) {
        const key = JSON.stringify(next);
        if (came.has(key) || came.size >= bounds.states) continue;
        came.set(key, [from, label]);
        const text = model.fault(next);
        if (text !== null) return { states: came.size, violation: { text, path: pathTo(came, key) }, reached };
        if (next.acked.length > 0 && next.witness.epoch > 1 && next.witness.primary !== FAR && model.serves(next, next.witness.primary)) {
          reached['served after a failover']++;
          if (next.handovers > 0 && next.witness.flags[0] === true && next.witness.flags[1] === true) reached['served after a handover']++;
        }
        if (next.forced && model.serves(next, FAR)) reached['served after force']++;
        nextLayer.push(next);
      }
    }
    layer = nextLayer;
  }
  return { states: came.size, violation: null, reached };
}

function pathTo(came: ReadonlyMap<string, readonly [string, string] | null>, end: string): readonly string[] {
  const path: string[] = [];
  for (let at = came.get(end); at !== null && at !== undefined; at = came.get(at[0])) path.unshift(at[1]);
  return path;
}

function numberAfter(flag: string, otherwise: number): number {
  const at = process.argv.indexOf(flag);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const named = process.argv[2];
  const broken = MUTATIONS.find((mutation) => mutation === named) ?? null;
  const bounds = {
    states: numberAfter('--states', 2_000_000),
    writes: numberAfter('--writes', 2),
    epochs: numberAfter('--epochs', 4),
    failures: numberAfter('--failures', 2),
    flips: numberAfter('--flips', 2),
  };
  const found = search(bounds, broken);
  console.log(`${broken ?? 'the rules'}: ${found.states} states, ${JSON.stringify(found.reached)}`);
  if (found.violation !== null) console.log(`${found.violation.text}\n  ${found.violation.path.join('\n  ')}`);
  process.exitCode = (found.violation === null) === (broken === null) ? 0 : 1;
}
