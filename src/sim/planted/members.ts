// Bugs in the changes of who the copies are and how each is mirrored.

import type { Edit, PlantedBug } from '../planted.ts';

const CHANGES = 'site/member-changes.ts';
const MEMBERSHIP = 'site/membership.ts';
const WITNESS = 'arbiter/witness-state.ts';

/** Left out, a copy whose mode is to change keeps its flag. */
const NOT_EXCLUDED: Edit = {
  file: MEMBERSHIP,
  find: "const changes = peer.flag !== 'false' && this.#changes.concerns(peer);",
  replace: 'const changes = false;',
};

export const MEMBER_BUGS: readonly PlantedBug[] = [
  {
    name: 'the mode of a copy changes while its flag is true',
    breaks: '20 mode',
    edits: [
      NOT_EXCLUDED,
      {
        file: WITNESS,
        find: "  if (target.flag) return 'flag-true';\n  return { revision: state.revision + 1, copies: state.copies.map",
        replace: '  return { revision: state.revision + 1, copies: state.copies.map',
      },
      { file: CHANGES, find: "if (mode === null || peer.flag !== 'false') continue;", replace: 'if (mode === null) continue;' },
    ],
  },
  {
    name: 'a copy counts as what it is to be from the moment in which that is wanted',
    breaks: '20 mode',
    edits: [
      {
        file: MEMBERSHIP,
        find: NOT_EXCLUDED.find,
        replace: `${NOT_EXCLUDED.find}\n      if (changes) peer.peer.mode = peer.peer.mode === 'sync' ? 'async' : 'sync';`,
      },
    ],
  },
  {
    name: 'a new primary takes the modes of its own configuration for those of the group',
    breaks: '20 mode',
    edits: [
      { file: 'site/lead.ts', find: 'if (copy !== undefined) peer.mode = copy.mode;', replace: '' },
      {
        file: 'site/members.ts',
        find: 'const peer = peersToo ? this.#ground.peers.get(site) : undefined;',
        replace: 'const peer = undefined as Peer | undefined;',
      },
    ],
  },
  { name: 'a copy whose mode is to change is not excluded for it', breaks: 'L1 liveness', edits: [NOT_EXCLUDED] },
  {
    name: 'a change of a mode ends with the question, whatever the answer',
    breaks: '20 mode',
    edits: [
      {
        file: CHANGES,
        find: '    const revision = desk.view?.revision;\n    if (revision === undefined) return;\n    const { site } = peer;',
        replace:
          "    const revision = desk.view?.revision;\n    if (revision === undefined) return;\n    const { site } = peer;\n    peer.peer.mode = mode;\n    peer.flag = 'maybe';",
      },
    ],
  },
];
