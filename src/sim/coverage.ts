// "Sometimes" assertions: states that a set of runs must have reached, or else it proves little. A toy of this system was clean over thousands
// of seeds while almost none of its runs had ever mirrored a write or seen a takeover; counting what happened is the cure.

/** States that every larger set of seeds reaches; a set that misses one fails. */
export const REQUIRED_STATES = [
  'answer mirrored',
  'answer solo',
  'answer while changing',
  'answer with FUA',
  'answer to a flush',
  'read waited for its commit',
  'read from a cold base',
  'request refused by a site that does not serve',
  'request failed after the hold limit',
  'connection dropped with requests open',
  'takeover',
  'claim again by the last primary',
  'claim request lost',
  'claim answer lost',
  'claim granted whose site had died meanwhile',
  'claim refused',
  'handover done',
  'handover request lost',
  'handover answer lost',
  'handover refused',
  'handover given up',
  'handover ordered at a mirror',
  'crash of the giver in a handover',
  'crash of the taker in a handover',
  'a new witness begins with a primary',
  'a new witness begins without a primary',
  'a new witness begins from a backup',
  'a site turned to a witness by mistake',
  'exclude done',
  'exclude answer lost',
  'exclude refused',
  'admit done',
  'the witness has written for a proof',
  'the answer to a proof was lost',
  'admit answer lost',
  'a witness request arrived twice',
  'delta',
  'delta with nothing missing',
  'whole copy begun',
  'whole copy ended',
  'whole copy cut off',
  'no records held for a copy that is away',
  'bitmap resync begun',
  'bitmap resync ended',
  'resync goes on after a cut',
  'older volume kept until the end',
  'older volume kept over a restart',
  'scan begun, compared at the primary',
  'scan begun, compared at the mirror',
  'scan ended',
  'scan goes on after a cut',
  'scan confirmed by a stronger digest',
  'scan ordered at the primary',
  'scan ordered at the mirror',
  'end of the primary in a scan',
  'end of the mirror in a scan',
  'end of the mirror while a scan is brought into its bases',
  'link lost in a scan',
  'staging given up for want of space',
  'bitmap used by another primary than it was begun by',
  'cut back',
  'coverage lost',
  'a mirror that does not cover another one, and the primary knows',
  'joined as unclean',
  'claim as unclean while another flag is true',
  'lease ran out while primary',
  'frozen primary past its lease',
  'deposed primary met a newer epoch',
  'power lost as primary',
  'power lost as mirror',
  'power lost while joining',
  'power lost while claiming',
  'power lost of both sync sites',
  'crash as primary',
  'crash as mirror',
  'crash while claiming',
  'crash before a port call',
  'crash after a port call',
  'crash in the middle of a write',
  'restart with a pending claim',
  'torn tail',
  'unflushed writes of a power loss were lost',
  'acknowledged writes were lost that may be',
  'bytes of a dead connection arrived',
  'witness away while mirrored, and hosts were served',
  'promotion by force',
  'disk failed',
  'damage found at start',
  'new disk filled',
  'destaged',
  'sidefile dropped records',
  'segment in a file made ahead or used before',
  'file of a dropped segment kept for another',
  'sidefile full, writers waited',
  'writers slowed for a copy that lags',
  'writers stopped for a copy that lags',
  'writers free again',
  'writers slowed for a resync that was outrun',
  'a survivor is given what it lacks',
  'far is ahead of near and gives',
  'survivors are made equal where none of them may claim',
  'survivors are equal',
  'a survivor cuts back',
  'survivors cannot be made equal without a primary',
  'making survivors equal is cut off',
  'sync mirror paused',
  'async mirror paused',
  'pause refused for the last mirror',
  'pause kept over a restart of the primary',
  'pause ended by another primary',
  'paused mirror resumed',
  'a copy waited for the pace of its link',
  'records or images went packed',
  'verify ended',
  'verify ended while hosts wrote',
  'verify went on at its cursor',
  'rot found and mended',
  'rot that nobody can prove is left alone',
  'rot of a record found and mended',
  'rot of a record found that nobody can mend',
  'rot of a mark or of a segment header found and mended',
  'rot of the primary found and mended',
  'rot of two copies of one block found and mended',
] as const;
export type State = (typeof REQUIRED_STATES)[number];

/** Counts how often each state was reached. */
export class Coverage {
  readonly counts = new Map<State, number>();

  hit(state: State): void {
    this.counts.set(state, (this.counts.get(state) ?? 0) + 1);
  }

  add(other: ReadonlyMap<State, number>): void {
    for (const [state, count] of other) this.counts.set(state, (this.counts.get(state) ?? 0) + count);
  }

  /** States that were never reached. */
  missing(): readonly State[] {
    return REQUIRED_STATES.filter((state) => !this.counts.has(state));
  }

  /** One line for each state. */
  table(): string {
    return REQUIRED_STATES.map((state) => `${String(this.counts.get(state) ?? 0).padStart(10)}  ${state}`).join('\n');
  }
}
