// Bugs that are planted on purpose, to see whether the simulator finds them: edits of the core's source that are made while it is loaded, in a
// process of its own. The product has no trace of them. An edit whose text is not found exactly once fails loudly, so the list cannot rot.
// Many are the mutations of the model of the rules; others are careless readings of the design, or bugs that were really there once.

import { AGREEMENT_BUGS } from './planted/agreement.ts';
import { DISK_BUGS } from './planted/disk.ts';
import { CLOCK_BUGS } from './planted/clock.ts';
import { HONEST_BUGS } from './planted/honest.ts';
import { MEMBER_BUGS } from './planted/members.ts';
import { MEMORY_BUGS } from './planted/memory.ts';
import { CUT_BUGS } from './planted/cut.ts';
import { POINT_BUGS } from './planted/points.ts';
import { fileURLToPath } from 'node:url';
import { DESTAGE_PLANTED } from './planted/destage.ts';
import { DIGEST_BUGS } from './planted/digests.ts';
import { SIDEFILE_PLANTED } from './planted/sidefile.ts';
import type { Focus } from './run.ts';
import type { LoadHookSync } from 'node:module';
import { STREAM_BUGS } from './planted/streams.ts';
import { FOLDING_BUGS } from './planted/folding.ts';
import { GROWTH_BUGS } from './planted/growth.ts';

/** One change of the source. */
export interface Edit {
  /** Below src/core/. */
  readonly file: string;
  /** Text that occurs there exactly once, and what it becomes. */
  readonly find: string;
  readonly replace: string;
}

/** One planted bug. */
export interface PlantedBug {
  readonly name: string;
  /** The rule that it breaks. */
  readonly breaks: string;
  readonly edits: readonly Edit[];
  /** Where chance alone seldom leads to the moment in which it matters: what the runs that look for it have in common. */
  readonly focus?: Focus;
}

function bug(name: string, breaks: string, file: string, find: string, replace: string): PlantedBug {
  return { name, breaks, edits: [{ file, find, replace }] };
}

const LEAD = 'site/lead.ts';
const HANDOVER = 'site/handover.ts';
const SUCCESSOR = 'site/successor.ts';
const MEMBERSHIP = 'site/membership.ts';
const SITE = 'site/site.ts';
const HOSTS = 'site/hosts.ts';
const STANDBY = 'site/standby.ts';
const CLAIMANT = 'site/claimant.ts';
const ACKNOWLEDGE = 'mirror/acknowledge.ts';
const FOLLOW = 'mirror/follow.ts';
const LEASE = 'arbiter/lease.ts';
const WITNESS = 'arbiter/witness-state.ts';
const SEEDING = 'arbiter/seeding.ts';
const CUT_BACK = 'replica/cut-back.ts';
const REPLICA = 'replica/replica.ts';
const OPEN = 'replica/open.ts';

/** The list. */
export const PLANTED: readonly PlantedBug[] = [
  ...SIDEFILE_PLANTED,
  ...DESTAGE_PLANTED,
  ...DIGEST_BUGS,
  ...CLOCK_BUGS,
  ...MEMBER_BUGS,
  ...FOLDING_BUGS,
  ...MEMORY_BUGS,
  ...CUT_BUGS,
  ...POINT_BUGS,
  ...AGREEMENT_BUGS,
  ...GROWTH_BUGS,
  bug(
    'a proof of the path counts as a change',
    'W5 epochs',
    WITNESS,
    'const stored = { ...state, writes: state.writes + 1 };',
    'const stored = { ...state, writes: state.writes + 1, revision: state.revision + 1 };',
  ),
  // Who may serve: leases, promises, claims.
  bug('serves without a lease', '1 one primary', LEAD, 'if (peer.required && !peer.lease.holds(now)) return false;', ''),
  bug(
    'answers without a look at the lease',
    '1 one primary',
    SITE,
    'if (lead.mayServe(this.#options.clock.now())) this.#hosts.release(acknowledged);',
    'this.#hosts.release(acknowledged);',
  ),
  bug(
    'lease without drift margin, and longer',
    '2 lease',
    LEASE,
    'at + promiseMillis * (1 - this.#driftShare)',
    'at + promiseMillis * 1.5',
  ),
  bug('claims within its promise', '2 lease', STANDBY, 'if (now < allowedAt) return', 'if (now < 0) return'),
  bug('restart forgets the promise', '2 lease', LEASE, 'this.#until = startedAt + fullPromise;', 'this.#until = startedAt;'),
  bug('promises and does not note it', '2 lease', FOLLOW, 'this.#promised.promise(this.#clock.now(), this.#promiseMillis);', ''),
  bug('restart forgets a pending claim', '5 claim', SITE, 'if (pending !== null &&', 'if (pending !== null && pending.epoch < 0 &&'),
  {
    name: 'claims before its log is on disk',
    breaks: '5 claim',
    edits: [
      {
        file: STANDBY,
        find: 'if (replica.marks.durable < replica.marks.received) return waiting',
        replace: 'if (replica.marks.durable < 0) return waiting',
      },
      { file: CLAIMANT, find: 'replica !== null && replica.marks.durable < replica.marks.received ? pending : null', replace: 'null' },
    ],
    focus: { story: 'slowHeir' },
  },
  bug(
    'claim leaves the other flags true',
    '5 claim',
    WITNESS,
    "(copy.mode === 'sync' && copy.site !== own.site ? { ...copy, flag: false } : copy)",
    '(copy)',
  ),
  {
    name: 'claims with its own flag false',
    breaks: '5 claim',
    edits: [
      { file: WITNESS, find: "  if (!own.flag) return 'flag-false';\n  // Every", replace: '  // Every' },
      {
        file: WITNESS,
        find: "copy.mode === 'sync' && copy.site !== own.site ? { ...copy, flag: false } : copy",
        replace: 'copy.site === own.site ? { ...copy, flag: true } : { ...copy, flag: false }',
      },
      { file: STANDBY, find: 'if (!own.flag)\n', replace: 'if (own === null)\n' },
    ],
  },
  bug('witness ignores the revision', 'W5 epochs', WITNESS, "if (operation.revision !== state.revision) return 'revision';", ''),
  bug('unclean copy claims', '6 unclean', STANDBY, 'if (replica.unclean) {', 'if (replica.unclean && now < 0) {'),
  bug(
    'unclean is forgotten',
    '6 unclean',
    OPEN,
    'cleanShutdown: false, unclean, startCount',
    'cleanShutdown: false, unclean: false, startCount',
  ),
  bug('unclean is not latched', '6 unclean', OPEN, 'const unclean = value.unclean || powerLost;', 'const unclean = powerLost;'),
  // Survivors make themselves equal first, and equal ones differ in their place only: this is what is left where they do not.
  {
    name: 'of two unclean copies the nearer claims',
    breaks: '6 unclean',
    edits: [
      { file: STANDBY, find: 'if (order > 0 || (order === 0', replace: 'if (order < 0 || (order === 0' },
      { file: STANDBY, find: 'if (level !== null) return level;', replace: '' },
    ],
    focus: { story: 'bothUnclean' },
  },

  // The planned change.
  bug('hands over and serves on', 'handover', LEAD, 'if (this.#handover?.stopped === true) return false;', ''),
  {
    name: 'goes back although it has asked',
    breaks: 'handover',
    edits: [
      { file: HANDOVER, find: "this.#enter('asked', now, Infinity);", replace: "this.#enter('asked', now, now + 1);" },
      { file: HANDOVER, find: "if (this.#stage === 'asked') return this.#resolve();", replace: '' },
      { file: HANDOVER, find: "return this.#stage === 'asked' || this.#over ? Infinity : this.#until;", replace: 'return this.#until;' },
    ],
  },
  {
    name: 'hands over before its last records are there',
    breaks: 'handover',
    edits: [
      {
        file: HANDOVER,
        find: 'if (this.#reign.unanswered() > 0 || committed < received || this.#peer.received < received) return;',
        replace: 'if (committed > received) return;',
      },
      { file: SUCCESSOR, find: 'if (replica.marks.received !== message.seq) return', replace: 'if (replica.marks.received < 0) return' },
      { file: SUCCESSOR, find: 'return replica.chain === message.chain ? null : ', replace: 'return replica.chain >= 0 ? null : ' },
      { file: SUCCESSOR, find: 'replica.marks.received === offer.seq && replica.chain === offer.chain;', replace: 'offer.seq >= 0;' },
      { file: SUCCESSOR, find: 'if (replica.marks.durable < offer.seq) return replica.flush();', replace: '' },
    ],
  },
  bug('confirms before it is on its disk', 'handover', SUCCESSOR, 'if (replica.marks.durable < offer.seq) return replica.flush();', ''),

  // Mirrors that are paused by order.
  bug(
    'a paused mirror is let go although it may claim',
    '4 exclude',
    LEAD,
    "if (!peer.paused || peer.required || peer.attached === 'no') continue;",
    "if (!peer.paused || peer.attached === 'no') continue;\n      peer.flag = 'false';",
  ),
  bug('a restart forgets a pause', '16 pause', LEAD, 'followed.paused = paused.includes(peer.name);', ''),
  bug('a paused mirror joins all the same', '16 pause', LEAD, '(peer.paused && !peer.required) || keptOut', 'keptOut'),

  // The end of a group.
  bug(
    'a tombstone is taken for a group',
    '18 deleted',
    WITNESS,
    'if (state.deleted === true) return applyDeleted(state, operation, instance);',
    '',
  ),
  bug(
    'a primary serves on after its group was deleted',
    '18 deleted',
    SITE,
    "if (this.#role === 'primary' && this.#desk.trouble?.kind === 'deleted') this.#becomeStandby('this group was deleted');",
    '',
  ),

  // Whether copies are equal.
  bug(
    'digests are not flushed with their image',
    'verify false alarm',
    'replica/digested-base.ts',
    'base.table.writeBack(written);',
    'written(null);',
  ),
  {
    name: 'a question is answered as of wherever the copy is',
    breaks: 'verify false alarm',
    edits: [
      {
        file: 'scan/examine.ts',
        find: 'if (replica.marks.received !== ask.seq || !replica.consistent',
        replace: 'if (!replica.consistent',
      },
      // Nothing is asked before everything that it is about is sent: each of the two alone is enough.
      { file: 'site/verify-desk.ts', find: 'if (peer.nextSeq !== replica.marks.received + 1) return false;', replace: '' },
    ],
    focus: {
      settings: {
        scrub: { everyMillis: 500, algorithm: 'sha256', reportOnly: true, bytesPerSecond: 0, window: null },
        foldMillis: { far: 400, near: 100, prim: 100 },
        pace: { site: 'far', bytesPerSecond: 100_000 },
      },
    },
  },
  bug(
    'a copy that disagrees with its own digest is believed',
    'verify attribution',
    'scan/attribute.ts',
    'words.filter((word) => word.rotten !== true)',
    'words',
  ),
  bug(
    'a copy without a digest is believed',
    'scrub',
    'scan/attribute.ts',
    'if (only?.rotten === false) return',
    'if (only !== undefined) return',
  ),
  bug(
    'a record that its disk has changed is passed over',
    'scrub',
    'replica/records.ts',
    "return bad < 0 ? { frame } : { seq: seq + bad, why: 'the payload does not have its checksum' };",
    'return { frame };',
  ),
  bug(
    'what differs is not mended',
    'scrub',
    'scan/verify.ts',
    'if (this.order.reportOnly || good === null) return;',
    'if (good !== null) return;',
  ),

  // The witness that was replaced.
  bug(
    'a new witness does without a copy that may serve',
    'W8 replaced',
    SEEDING,
    "(mode === 'sync' && primary.mayBeTrue.includes(site))",
    "(mode === 'sync' && primary.mayBeTrue.includes(site) && site === primary.site)",
  ),
  bug(
    'a new witness forgets who may be true',
    'W8 replaced',
    SEEDING,
    'site === primary.site || primary.mayBeTrue.includes(site)).map',
    'site === primary.site).map',
  ),

  // What an acknowledgement means.
  bug('acknowledges before the peer holds it', '3 acknowledge', ACKNOWLEDGE, 'held = Math.min(held, peer.received);', ''),
  bug('solo, acknowledges from memory', '3 acknowledge', ACKNOWLEDGE, ': Math.min(held, own.durable);', ': held;'),
  bug(
    'in doubt, relies on the peer alone',
    '3 acknowledge',
    ACKNOWLEDGE,
    "if (peer.flag === 'true') knownTrue = true;",
    'knownTrue = true;',
  ),
  bug(
    'in doubt, relies on the disk alone',
    '3 acknowledge',
    ACKNOWLEDGE,
    "if (peer.flag === 'false') continue;",
    "if (peer.flag !== 'true') continue;",
  ),
  bug('flush does not wait for the peer', 'R7 flush', ACKNOWLEDGE, 'durable = Math.min(durable, peer.durable);', ''),
  bug('flush does not wait for the own disk', 'R7 flush', ACKNOWLEDGE, 'let durable = own.durable;', 'let durable = own.received;'),
  bug('FUA is a plain write', 'R7 flush', HOSTS, 'if (request.fua) this.#waitForFlush', 'if (request.fua && seq < 0) this.#waitForFlush'),
  bug(
    'mirror calls durable what it holds',
    'R7 flush',
    FOLLOW,
    '[this.#replica.epoch, received, durable, destaged]',
    '[this.#replica.epoch, received, Math.max(received, durable), destaged]',
  ),
  bug(
    'a joining peer is believed at once',
    '3 acknowledge',
    'site/resync.ts',
    'peer.joinAt = position;',
    'peer.joinAt = position;\n    peer.received = replica.marks.received;',
  ),
  {
    name: 'a copy that resigned is relied on again',
    breaks: '3 acknowledge',
    edits: [
      { file: LEAD, find: "    if (peer.flag === 'true') peer.flag = 'maybe';\n    this.#membership", replace: '    this.#membership' },
      { file: LEAD, find: "if (peer.flag === 'true' && copy?.flag === false) peer.flag = 'maybe';", replace: '' },
    ],
  },
  bug(
    'an answer about the past is news',
    '3 acknowledge',
    MEMBERSHIP,
    'const isNews = answer.repeated !== true &&',
    'const isNews = true ||',
  ),
  bug(
    'reads show what is not committed',
    'R3 dirty read',
    HOSTS,
    '    if (needSeq >= 0) {\n      this.#waitFor(request, needSeq);',
    '    if (needSeq >= 0) {\n      this.#waitFor(request, 0);',
  ),
  bug(
    'cold reads show what is not committed',
    'R3 dirty read',
    HOSTS,
    'if (failure === null) this.#waitFor(request, seq);',
    'if (failure === null) this.#waitFor(request, 0);',
  ),
  bug(
    'everything received counts as committed',
    'R3 dirty read',
    SITE,
    'replica.commit(acknowledged.committed);',
    'replica.commit(replica.marks.received);',
  ),
  bug('held writes lose their bytes', 'R5 contents', HOSTS, 'request.payload = copyOf(request.payload);', ''),

  // Who counts as synchronised.
  bug(
    'excludes before its own flush',
    '4 exclude',
    MEMBERSHIP,
    'if (this.#replica.marks.durable < excluding.flushTo) {',
    'if (this.#replica.marks.durable < 0) {',
  ),
  bug(
    'serves alone while it excludes',
    '4 exclude',
    MEMBERSHIP,
    "peer.flag = 'maybe';\n      this.#excluding",
    "peer.flag = 'false';\n      this.#excluding",
  ),
  bug(
    'serves alone without the witness',
    '10 alone',
    MEMBERSHIP,
    'excluding.asked = true;',
    "excluding.asked = true;\n    excluding.peer.flag = 'false';",
  ),
  bug('admits without waiting for the peer', '8 admit', MEMBERSHIP, "        peer.flag = 'maybe';\n      }", '      }'),
  bug(
    'relies on a peer before it is admitted',
    '8 admit',
    MEMBERSHIP,
    "        peer.flag = 'maybe';\n      }",
    "        peer.flag = 'true';\n      }",
  ),
  bug('admits an unclean copy', '8 admit', MEMBERSHIP, ' || said.unclean || ', ' || '),
  bug(
    'admits before it is durable there',
    '8 admit',
    MEMBERSHIP,
    "if (peer.peer.mode === 'sync' && peer.durable < durableTo) {",
    "if (peer.peer.mode === 'sync' && peer.durable < 0) {",
  ),

  // Joining and copying.
  bug(
    'a new epoch is used before it is durable',
    '7 join',
    REPLICA,
    'this.#changeTo({ epoch, history: [...known, { epoch, firstSeq }] }, done);',
    'this.#changeTo({ epoch, history: [...known, { epoch, firstSeq }] }, () => undefined);\n      this.#later(done);',
  ),
  bug(
    'follows before the cut is durable',
    '7 join',
    REPLICA,
    "() => this.#changeTo(options, (failure) => done(failure ?? 'done')));",
    "() => {\n      this.#changeTo(options, () => undefined);\n      this.#later((failure) => done(failure ?? 'done'));\n    });",
  ),
  bug(
    'what was read for a lagging peer is given back before it is sent',
    'R5 contents',
    'mirror/send.ts',
    "for (const part of frames.parts) peer.pace.spend(link.sendParts('frame', [part], 0, () => frames.release()));",
    "for (const part of frames.parts) peer.pace.spend(link.sendParts('frame', [part], 0, () => undefined));\n    frames.parts.forEach(() => frames.release());",
  ),
  bug(
    'a tail that the primary lacks is kept',
    '7 join',
    CUT_BACK,
    'if (this.#ground.failure() !== null || seq === marks.received) return done();',
    'return done();',
  ),
  {
    name: 'cuts below what is in the base image',
    breaks: '7 join',
    edits: [
      { file: 'mirror/join.ts', find: '  if (shared < join.destageTarget)\n', replace: '  if (shared < 0)\n' },
      { file: REPLICA, find: 'cutTo < this.#marks.destageTarget || ', replace: '' },
      { file: CUT_BACK, find: "assert(seq >= marks.destageTarget, 'what is cut off is not in the bases'", replace: "assert(true, ''" },
      {
        file: CUT_BACK,
        find: '    marks.received = seq;\n',
        replace:
          '    marks.received = seq;\n    marks.destaged = Math.min(marks.destaged, seq);\n    marks.destageTarget = Math.min(marks.destageTarget, seq);\n',
      },
    ],
  },
  bug(
    'a copy ends before its images are flushed',
    '9 contents',
    'replica/receive.ts',
    'storage.flush(bases, flushed);',
    'storage.flush([], flushed);',
  ),
  bug(
    'a copy is consistent from its start',
    '9 contents',
    'replica/receive.ts',
    'consistent: false, copying: { fromSeq: position }',
    'consistent: true, copying: { fromSeq: position }',
  ),
  bug(
    'a copy is complete before all records came',
    '9 contents',
    FOLLOW,
    'this.#imagesWriting > 0 || this.#replica.marks.received < end',
    'this.#replica.marks.received < end',
  ),
  bug(
    'a bitmap does not go on with new records',
    'B1 bitmap',
    'replica/bitmaps.ts',
    '      this.#mark(map, frame, 0, frame.recordCount - 1);\n',
    '',
  ),
  bug(
    'a bitmap that begins too late counts',
    '9 far prefix',
    'mirror/join.ts',
    'if (own.bitmapFrom > cutTo + 1) return',
    'if (own.bitmapFrom > own.received + 1) return',
  ),
  bug(
    'bits are cleared when a resync begins',
    '9 far prefix',
    'site/resync.ts',
    '    this.#counters.copies++;\n',
    '    this.#counters.copies++;\n    const whole = replica.bitmaps.get(peer.site);\n    if (whole !== null) replica.bitmaps.begin(peer.site, whole.from, whole.to);\n',
  ),
  bug(
    'staged images go into the bases before the end marker',
    '9 older volume',
    'replica/receive.ts',
    '    if (staging === null) {\n      const failure = failureOf(() => putImage(base, offset, content, ended));',
    '    if (staging !== null) failureOf(() => putImage(base, offset, content, () => undefined));\n    if (staging === null) {\n      const failure = failureOf(() => putImage(base, offset, content, ended));',
  ),
  bug(
    'a resync goes on though the history has changed',
    '9 far prefix',
    'mirror/join.ts',
    'if (!isOurs || shared < staged.fromSeq',
    'if (shared < staged.fromSeq',
  ),
  bug(
    'a cursor counts before its images are on disk',
    '9 far prefix',
    'replica/receive.ts',
    '    storage.flush(staging.files, ended);\n',
    '    storage.flush([], ended);\n',
  ),
  bug(
    'a scan does not look at the last node',
    '9 far prefix',
    'scan/compare.ts',
    'if (!equal(mine, theirs, node * size, size)) differing.push(node);',
    'if (!equal(mine, theirs, node * size, size) && node < Math.max(1, count - 1)) differing.push(node);',
  ),
  bug(
    'a scan is settled before its blocks are sent',
    '9 far prefix',
    'mirror/ranges.ts',
    "    this.#queue.push({ kind: 'settled', cursor });\n",
    "    this.#queue.unshift({ kind: 'settled', cursor });\n",
  ),
  bug('a copied mirror stays unclean', 'L1 liveness', FOLLOW, '      this.#cleanTarget = end;\n', ''),

  // Survivors of a primary.
  {
    name: 'claims without a look at what others hold',
    breaks: '7 adopt',
    edits: [
      { file: STANDBY, find: 'if (level !== null) return level;', replace: '' },
      { file: 'site/survivors.ts', find: "exchange.link.send('compare', encodeJson(standing));", replace: '' },
    ],
  },
  bug(
    'a survivor forwards from one record too late',
    'L1 liveness',
    'mirror/give.ts',
    'this.#nextSeq = options.position + 1;',
    'this.#nextSeq = options.position + 2;',
  ),
  {
    name: 'a survivor keeps the tail that a newer epoch does not have',
    breaks: '7 join',
    edits: [
      {
        file: 'mirror/take.ts',
        find: 'cutTo: level.position }',
        replace: 'cutTo: Math.max(level.position, received) }',
      },
      {
        file: 'replica/history.ts',
        find: "  assert(shared >= Math.min(cutTo, oldest), 'what is kept is named alike by both histories', { cutTo, shared });\n",
        replace: '',
      },
    ],
  },

  bug(
    'what far has received is told as if it were on its disk',
    '10 held',
    'site/held-desk.ts',
    'received: Math.max(durable, other.received), durable, ...',
    'received: Math.max(durable, other.received), durable: Math.max(durable, other.received), ...',
  ),

  // The replica on disk.
  bug(
    'destages what is not committed',
    '7 join',
    'replica/schedule.ts',
    'return Math.min(this.#layers.marks.committed, this.#layers.sidefile.durable);',
    'return this.#layers.marks.durable;',
  ),
  bug('base image is not flushed', 'C1 durable', 'replica/destage.ts', "    yield { kind: 'flush', files: layers.bases };\n", ''),
  bug(
    'target of destaging is not noted',
    'C1 durable',
    'replica/destage.ts',
    "  yield { kind: 'superblock', patch: { destageTarget: Math.max(target, layers.destageTarget) } };\n",
    '',
  ),
  bug(
    'a flush covers what came after it',
    'C1 durable',
    'replica/sidefile.ts',
    'this.#durable = Math.max(this.#durable, flight.upTo);',
    'this.#durable = this.#received;',
  ),
  bug(
    'superblock is written in place',
    'C3 superblock',
    'replica/superblock.ts',
    'this.#slot = this.#slot === 0 ? 1 : 0;',
    'this.#slot = 0;',
  ),
  bug(
    'what a failed flush left is not written again',
    'E2 failed flush',
    'replica/recover.ts',
    'if (lastSeq > durable) this.#rewrite(segment, behind, durable);',
    'if (lastSeq > durable) segment.dirty = true;',
  ),
  bug(
    'segments that came back are taken for damage',
    'C1 durable',
    'replica/recover.ts',
    '    if (!this.#live.empty && this.#live.received < destaged) this.#forgetFront();\n',
    '',
  ),
  bug(
    'a segment has its name before its contents',
    'C2 torn or damaged',
    'replica/sidefile.ts',
    '    file.write(0, [this.#segmentHeader(number), bytes, this.#markBehind(number, frame)]);\n    this.#options.storage.rename(file, segmentName(number));\n',
    '    this.#options.storage.rename(file, segmentName(number));\n    file.write(0, [this.#segmentHeader(number), bytes, this.#markBehind(number, frame)]);\n',
  ),
  bug(
    'what a file held before is taken for its segment',
    'C2 torn or damaged',
    'replica/recover.ts',
    "(item.kind === 'frame' && (item.mark !== null || (end === null && this.#isNext(item.frame))))",
    "item.kind === 'frame'",
  ),
  bug(
    'a mark does not say which segment it is part of',
    'C2 torn or damaged',
    'replica/segment.ts',
    ' || getU64(view, at.segmentNumber) !== segmentNumber) return null;',
    ') return null;',
  ),
  bug(
    'a kept file is written to before its new name is durable',
    'C1 durable',
    'replica/spares.ts',
    '    this.#renaming.add(file);\n',
    '    this.#ready.push(file);\n',
  ),
  bug(
    'trimmed blocks keep their contents',
    'R5 contents',
    'replica/destage.ts',
    'else overlay.putZeroes(',
    'else if (seq < 0) overlay.putZeroes(',
  ),
  bug(
    'records that writers are to wait for are forgotten all the same',
    '15 overflow',
    LEAD,
    'if (peer.required || isKept(peer, now) || !this.#uncover(peer, retain',
    'if (peer.required || !this.#uncover(peer, retain',
  ),
  bug('writers do not wait for room', '15 overflow', HOSTS, 'if (replica.full || !lead.writers.take(', 'if (!lead.writers.take('),
  bug(
    'writers that were stopped stay so',
    'L1 liveness',
    'site/writers.ts',
    "this.#state === 'stopped' ? fill > STOP_UNTIL :",
    "this.#state === 'stopped' ? fill >= 0 :",
  ),
  ...HONEST_BUGS,
  ...DISK_BUGS,
  ...STREAM_BUGS,
  bug('payloads are not checked at start', 'C4 checksums', 'replica/recover.ts', '    if (bad >= 0) {', '    if (bad >= 1e9) {'),
];

/** A load hook that plants a bug. */
export function plant(planted: PlantedBug): LoadHookSync {
  const edits = new Map<string, Edit[]>();
  for (const edit of planted.edits) {
    const path = fileURLToPath(new URL(`../core/${edit.file}`, import.meta.url));
    edits.set(path, [...(edits.get(path) ?? []), edit]);
  }
  return (url, context, nextLoad) => {
    const loaded = nextLoad(url, context);
    const here = url.startsWith('file:') ? edits.get(fileURLToPath(url)) : undefined;
    if (here === undefined) return loaded;
    return { ...loaded, source: here.reduce((source, edit) => plantInto(planted.name, edit, source), sourceText(loaded.source)) };
  };
}

/** The source with one edit made in it. */
export function plantInto(name: string, edit: Edit, source: string): string {
  const parts = source.split(edit.find);
  if (parts.length !== 2)
    throw new Error(`planted bug "${name}": its text occurs ${parts.length - 1} times in ${edit.file}, not once: ${edit.find}`);
  return parts.join(edit.replace);
}

function sourceText(source: unknown): string {
  if (typeof source === 'string') return source;
  if (source instanceof Uint8Array || source instanceof ArrayBuffer) return new TextDecoder().decode(source);
  throw new Error('a module without a source cannot be changed');
}
