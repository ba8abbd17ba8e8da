// The one table of errors that a user can meet: code, exit code of the command that meets it, and the sentence, which says what is wrong,
// where, and what to do. docs/reference/errors.md has a heading for each; a test compares the two.

/** Exit codes of the commands. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  notInState: 3,
  unreachable: 4,
  unsafe: 5,
  deadline: 6,
  nodeTooOld: 69,
  invariant: 70,
  configuration: 78,
} as const;

/** What each means, for docs/reference/exit-codes.md. */
export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  done: 'Done; of `tercet status`: all groups are well.',
  failed: 'Failed: the sentence on standard error says what and why.',
  usage: 'The command line is wrong, or names a group or a site that the configuration does not have.',
  notInState: 'Not in that state; of `tercet status`: something is wrong; of `tercet witness status`: a group is not created.',
  unreachable: 'No answer: the daemon or the witness cannot be reached.',
  unsafe: 'Refused, because data could be lost; the sentence names the way out.',
  deadline: 'A deadline has passed; the order may still be under way.',
  nodeTooOld: 'Node.js is too old.',
  invariant: 'A rule of the program itself was broken, and it stopped.',
  configuration: 'The configuration has faults, or cannot be read.',
};

type Facts = Readonly<Record<string, string | number | boolean | null>>;
interface ErrorEntry {
  readonly exit: number;
  readonly text: (facts: Facts) => string;
}

const table = {
  TERCET_CONFIG: { exit: EXIT.configuration, text: (f) => `the configuration ${f['file']} has ${f['count']} fault(s):\n${f['faults']}` },
  TERCET_CONFIG_UNREADABLE: {
    exit: EXIT.configuration,
    text: (f) => `the configuration ${f['file']} cannot be read (${f['reason']}): give its path with --config, or make it readable`,
  },
  TERCET_REPLICA_LOCKED: {
    exit: EXIT.failed,
    text: (f) => `replica ${f['folder']} is in use by another process: stop the other tercetd, or give this site its own data folder`,
  },
  TERCET_REPLICA_FOREIGN: {
    exit: EXIT.failed,
    text: (f) =>
      `folder ${f['folder']} holds a replica of group "${f['found']}" at site "${f['foundSite']}", not of "${f['wanted']}" at "${f['wantedSite']}": check "data" in the configuration`,
  },
  TERCET_REPLICA_EXISTS: {
    exit: EXIT.notInState,
    text: (f) => `group ${f['group']} already has a replica at ${f['site']}: nothing was changed`,
  },
  TERCET_SUPERBLOCK_DAMAGED: {
    exit: EXIT.failed,
    text: (f) =>
      `both slots of the superblock ${f['folder']} are damaged: this copy cannot be used; \`tercet doctor --site NAME --repair\` sets it aside where another site may serve, and a primary fills a new one`,
  },
  TERCET_SIDEFILE_DAMAGED: {
    exit: EXIT.failed,
    text: (f) =>
      `sidefile damaged at record (${f['epoch']}, ${f['seq']}), ${f['file']} offset ${f['offset']}: ${f['reason']}; this copy is not used until it is filled from a peer`,
  },
  TERCET_FORMAT_VERSION: {
    exit: EXIT.failed,
    text: (f) => `${f['what']} has format version ${f['found']}, this program reads ${f['known']}: use the program version that wrote it`,
  },
  TERCET_DISK: {
    exit: EXIT.failed,
    text: (f) =>
      `${f['operation']} of ${f['file']} failed with ${f['code']}: this site no longer uses its copy; mend the disk and start it again`,
  },
  TERCET_VOLUME_SIZE: {
    exit: EXIT.configuration,
    text: (f) =>
      `volume ${f['volume']}: the base ${f['path']} has ${f['found']} bytes, the configuration says ${f['wanted']}: make them equal`,
  },
  TERCET_VOLUME_SHRINKS: {
    exit: EXIT.configuration,
    text: (f) =>
      `volume ${f['group']}/${f['volume']} has ${f['had']} bytes, and the configuration now says ${f['wanted']}: a volume never becomes smaller`,
  },
  TERCET_VOLUMES_CHANGED: {
    exit: EXIT.configuration,
    text: (f) =>
      `group ${f['group']} has the volumes ${f['had']}, and the configuration now says ${f['wanted']}: a group keeps its volumes, under their names and in their order; make the configuration as it was`,
  },
  TERCET_LAST_SYNC_COPY: {
    exit: EXIT.unsafe,
    text: (f) =>
      `the configuration now leaves group ${f['group']} one sync site, ${f['site']}: new writes would be there alone, and nobody could take over; if that is what you want, add --force at each site`,
  },
  TERCET_UNREACHABLE: {
    exit: EXIT.unreachable,
    text: (f) => `${f['what']} at ${f['address']} does not answer (${f['reason']}): is it running, and is this its address?`,
  },
  TERCET_NO_SUCH_GROUP: { exit: EXIT.usage, text: (f) => `there is no group "${f['group']}" here: the configuration has ${f['known']}` },
  TERCET_NO_SUCH_SITE: { exit: EXIT.usage, text: (f) => `there is no site "${f['site']}": the configuration has ${f['known']}` },
  TERCET_NO_SUCH_VOLUME: {
    exit: EXIT.usage,
    text: (f) => `group ${f['group']} has no volume "${f['volume']}": the configuration has ${f['known']}`,
  },
  TERCET_WRITES_LOST: {
    exit: EXIT.unsafe,
    text: (f) =>
      `volume ${f['volume']} is not what its host was told: ${f['reason']}; the host was cut off: check the file system or database, then attach the volume again`,
  },
  TERCET_VOLUME_SIZE_SERVED: {
    exit: EXIT.configuration,
    text: (f) => `volume ${f['volume']} is smaller than clients were told: ${f['reason']}; give this host the configuration of the sites`,
  },
  TERCET_WITNESS_REFUSED: {
    exit: EXIT.unsafe,
    text: (f) => `the witness refused ${f['operation']} for group ${f['group']}: ${f['reason']}`,
  },
  TERCET_WITNESS_LOCKED: {
    exit: EXIT.failed,
    text: (f) =>
      `the witness's folder ${f['folder']} is in use by another process: stop the other witness, or give this one its own data folder`,
  },
  TERCET_WITNESS_DAMAGED: {
    exit: EXIT.failed,
    text: (f) =>
      `the witness's file ${f['file']} cannot be trusted (${f['reason']}): it is not used; keep it aside, start a new witness and name the survivor`,
  },
  TERCET_WITNESS_DISK: {
    exit: EXIT.failed,
    text: (f) =>
      `${f['operation']} of the witness's file ${f['file']} failed with ${f['code']}: the witness answers nothing more; mend the disk and start it again`,
  },
  TERCET_UNSAFE: { exit: EXIT.unsafe, text: (f) => `refused, because data could be lost: ${f['reason']}; way out: ${f['remedy']}` },
  TERCET_NOT_IN_STATE: { exit: EXIT.notInState, text: (f) => `${f['what']}: ${f['reason']}` },
  TERCET_DEADLINE: { exit: EXIT.deadline, text: (f) => `${f['what']} did not happen within ${f['seconds']} s: ${f['remedy']}` },
  TERCET_NODE_TOO_OLD: { exit: EXIT.nodeTooOld, text: (f) => `tercet needs Node.js 24 or newer; this is ${f['found']}` },
  TERCET_INVARIANT: {
    exit: EXIT.invariant,
    text: (f) => `a rule of the program itself was broken, so it stopped: ${f['text']}; please report this line`,
  },
  TERCET_PORT_IN_USE: {
    exit: EXIT.failed,
    text: (f) =>
      `cannot listen on ${f['address']} for ${f['what']} (${f['code']}): another process has it, or the address is not of this machine`,
  },
  TERCET_PASSED_SOCKET: {
    exit: EXIT.configuration,
    text: (f) =>
      `a socket at ${f['address']} was passed to this program, which is none of ${f['known']}: name the same addresses where it is passed and here`,
  },
  TERCET_MISSING_PROGRAM: { exit: EXIT.failed, text: (f) => `these programs are missing: ${f['programs']}; install ${f['packages']}` },
  TERCET_TLS: {
    exit: EXIT.configuration,
    text: (f) => `the certificates cannot be used, ${f['count']} fault(s):\n${f['faults']}`,
  },
  TERCET_FORBIDDEN: { exit: EXIT.usage, text: (f) => `${f['what']} does not take this from ${f['who']}: ${f['reason']}` },
  TERCET_BAD_REQUEST: { exit: EXIT.usage, text: (f) => `bad request to ${f['what']}: ${f['reason']}` },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof table;

/** All codes, sorted, for the documentation's check. */
export const ERROR_CODES: readonly ErrorCode[] = (Object.keys(table) as ErrorCode[]).sort();

/** Exit code for an error's code that came from another process; EXIT.failed for one that this version does not know. */
export function exitOf(code: string): number {
  return Object.hasOwn(table, code) ? table[code as ErrorCode].exit : EXIT.failed;
}

/** An error that a user can do something about: its message is the whole sentence. */
export class TercetError extends Error {
  override readonly name = 'TercetError';
  readonly code: ErrorCode;
  readonly exit: number;
  readonly facts: Facts;
  constructor(code: ErrorCode, facts: Facts, options?: ErrorOptions) {
    const entry: ErrorEntry = table[code];
    super(entry.text(facts), options);
    this.code = code;
    this.exit = entry.exit;
    this.facts = facts;
  }
}
